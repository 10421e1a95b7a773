"""API keys: who may call. Where there are some, everything but health asks for one, before all else."""

import hmac
from collections.abc import Sequence
from functools import partial

from flask import Flask, Response, request

from gateway.error_responses import Problem, respond
from gateway.request import current_request
from shared.api_keys import ApiKey, digest

PUBLIC = frozenset({"health.live", "health.ready", "page.page", "page.page_file"})
"""Endpoints that need no key: probes have none, and the page asks its reader for one. A path that is not
served has no endpoint, so it is not told from one that is."""

_WHERE = "send one of this server's keys in the header Authorization: Bearer KEY, or X-API-Key: KEY"


def register_auth(app: Flask, keys: Sequence[ApiKey]) -> None:
    """Ask for one of `keys`; the name of the one that is sent becomes the request's `owner`."""
    app.before_request(partial(_authenticate, keys))


def _authenticate(keys: Sequence[ApiKey]) -> Response | None:
    asked = current_request()
    if asked.endpoint in PUBLIC:
        return None
    sent = asked.headers.get("X-API-Key") or _bearer()
    name = _name_of(sent, keys)
    if not sent or name is None:
        return _refusal("the API key that was sent is not known" if sent else _missing())
    asked.owner = name
    return None


def _bearer() -> str:
    scheme, _, key = request.headers.get("Authorization", "").strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _name_of(sent: str, keys: Sequence[ApiKey]) -> str | None:
    name, given = None, digest(sent)
    for key in keys:  # to the last one always, so that the time tells nothing
        if hmac.compare_digest(key.digest, given):
            name = key.name
    return name


def _missing() -> str:
    if "Authorization" in request.headers:
        return "the Authorization header is not of the form: Bearer KEY"
    return "an API key is needed, and none was sent"


def _refusal(fault: str) -> Response:
    response = respond(Problem(401, f"{fault}; {_WHERE}"))
    response.headers["WWW-Authenticate"] = "Bearer"
    return response
