"""A request, with what the gateway notes of it."""

import re
import time
from secrets import token_hex
from typing import TYPE_CHECKING, cast

import flask

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class Request(flask.Request):
    """Flask's request, and its id, the moment it came, and the name of the key that it came with."""

    def __init__(self, environ: "WSGIEnvironment", *options: bool) -> None:
        super().__init__(environ, *options)
        self.started = time.monotonic()
        given = environ.get("HTTP_X_REQUEST_ID", "")
        self.id = given if _REQUEST_ID.fullmatch(given) else token_hex(16)
        self.owner = ""


def current_request() -> Request:
    """The request itself: each look at it through Flask's `request` is a search for it."""
    return cast(Request, flask.request._get_current_object())  # type: ignore[attr-defined]
