"""Checks API keys.

The check is on if the settings contain an API key. While the check is on, every request must contain an API
key, unless its route is public (see gateway/route_policy.py).
"""

import hmac
from collections.abc import Sequence

from gateway.problem import Problem
from gateway.request import Request
from shared.api_keys import ApiKey, digest

_ACTION = "Send an API key in the header Authorization: Bearer KEY, or X-API-Key: KEY."


def authenticate(request: Request, keys: Sequence[ApiKey]) -> None:
    """Set the request's `owner` to the name of its API key.

    Raises:
        Problem: the request contains no API key from `keys`.
    """
    authorization = request.headers.get("authorization")
    sent_key = request.headers.get("x-api-key") or _bearer_key(authorization or "")
    name = _key_name(sent_key, keys)
    if not sent_key or name is None:
        request.answer_headers["WWW-Authenticate"] = "Bearer"
        raise Problem(401, f"{_fault(sent_key, authorization)}. {_ACTION}")
    request.owner = name


def _bearer_key(authorization: str) -> str:
    scheme, _, key = authorization.strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _key_name(sent_key: str, keys: Sequence[ApiKey]) -> str | None:
    name, sent_digest = None, digest(sent_key)
    for key in keys:  # all keys are compared, so that the response time does not reveal which key matches
        if hmac.compare_digest(key.digest, sent_digest):
            name = key.name
    return name


def _fault(sent_key: str, authorization: str | None) -> str:
    if sent_key:
        return "API key: expected a key of this server, got an unknown key"
    if authorization is not None:
        return "Authorization: expected the form Bearer KEY, got another form"
    return "API key: expected a key of this server, got none"
