"""What keys and rate limits add to the calls, where they are set."""

from gateway.openapi.parts import Json, problems
from shared.settings import Settings

_OPEN = ("/", "/page/{file}", "/health/live", "/health/ready")
"""Where neither holds: probes have no key, and the page asks its reader for one."""

_UNCOUNTED = "/status"
"""Where keys hold, and limits don't."""

SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""Two ways to send the same key."""

_NO_KEY = ("No key was sent, or none that this server knows.", "no api key")
_LIMIT = ("The queue is full, or the caller's rate limit is used up.", "full", "limit")
_LEFT = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


def keys_are_set(settings: Settings) -> bool:
    """Whether callers must send a key."""
    return bool(settings.api_keys or settings.api_keys_file)


def guarded(paths: Json, settings: Settings) -> Json:
    """The calls with the answers, headers and exceptions that these settings add."""
    return {
        path: {
            name: part if name == "parameters" else _guarded(part, settings, path)
            for name, part in item.items()
        }
        for path, item in paths.items()
    }


def _guarded(call: Json, settings: Settings, path: str) -> Json:
    if path in _OPEN:
        return {**call, "security": []} if keys_are_set(settings) else call
    responses = dict(call["responses"])
    if keys_are_set(settings):
        responses |= problems({401: _NO_KEY})
    if settings.rate_limit and path != _UNCOUNTED:
        responses |= problems({429: _LIMIT})
        responses = {status: _counted(response) for status, response in responses.items()}
    return {**call, "responses": dict(sorted(responses.items()))}


def _counted(response: Json) -> Json:
    left = {name: {"$ref": f"#/components/headers/{name}"} for name in _LEFT}
    return {**response, "headers": {**response["headers"], **left}}
