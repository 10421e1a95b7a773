"""Checks API keys.

The check is on if the settings contain an API key. While the check is on, every request must contain an API
key, unless its route is public (see gateway/route_policy.py).
"""

import hmac
from collections.abc import Sequence
from functools import partial

from flask import Flask, Response, request

from gateway.error_responses import respond
from gateway.problem import Problem
from gateway.request import current_request
from shared.api_keys import ApiKey, digest

_ACTION = "Send an API key in the header Authorization: Bearer KEY, or X-API-Key: KEY."


def register_auth(app: Flask, keys: Sequence[ApiKey]) -> None:
    """Refuse requests that contain no API key from `keys`. The key's name becomes the request's `owner`."""
    app.before_request(partial(_authenticate, keys))


def _authenticate(keys: Sequence[ApiKey]) -> Response | None:
    current = current_request()
    if current.policy.public:
        return None
    sent_key = current.headers.get("X-API-Key") or _bearer_key()
    name = _key_name(sent_key, keys)
    if sent_key and name is not None:
        current.owner = name
        return None
    response = respond(Problem(401, f"{_fault(sent_key)}. {_ACTION}"))
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _bearer_key() -> str:
    scheme, _, key = request.headers.get("Authorization", "").strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _key_name(sent_key: str, keys: Sequence[ApiKey]) -> str | None:
    name, sent_digest = None, digest(sent_key)
    for key in keys:  # all keys are compared, so that the response time does not reveal which key matches
        if hmac.compare_digest(key.digest, sent_digest):
            name = key.name
    return name


def _fault(sent_key: str) -> str:
    if sent_key:
        return "API key: expected a key of this server, got an unknown key"
    if "Authorization" in request.headers:
        return "Authorization: expected the form Bearer KEY, got another form"
    return "API key: expected a key of this server, got none"
