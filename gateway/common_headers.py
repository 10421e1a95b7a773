"""Adds the headers that every response has: security headers and CORS headers."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_ANSWER_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Content-Security-Policy of all responses except pages: browsers load no files and show no frames."""

_PAGE_POLICY = (  # blob: lets the page show a picture before sending it to the server
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""Content-Security-Policy of the pages: scripts and styles are files of this server, never inline."""

_EXPOSED = (
    "X-Job-Id, X-Request-Id, X-Model, Server-Timing, Retry-After, Location, "
    "Cache-Status, Idempotency-Replayed, Preference-Applied, WWW-Authenticate, "
    "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
)
_ALLOWED = "Content-Type, X-Request-Id, Authorization, X-API-Key"

_Headers = list[tuple[str, str]]

_SECURITY = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),  # for browsers that do not know frame-ancestors
    ("Referrer-Policy", "no-referrer"),
]


class CommonHeaders:
    """WSGI middleware that adds the common headers as one list. Werkzeug needs 3 µs to add one header."""

    def __init__(self, app: "WSGIApplication", origins: tuple[str, ...]) -> None:
        self._app, self._origins = app, origins
        self._answer = [*_SECURITY, ("Content-Security-Policy", _ANSWER_POLICY)]
        self._page = [*_SECURITY, ("Content-Security-Policy", _PAGE_POLICY)]

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Call the app, and add the common headers to its response."""

        def start(status: str, headers: _Headers, exc_info: Any = None) -> Callable[[bytes], object]:
            # A 304 has no content type, so a page's 304 would get the wrong policy. The browser keeps the
            # headers of its stored copy.
            if status.startswith("304"):
                return start_response(status, headers, exc_info)
            return start_response(status, headers + self._common(headers, environ), exc_info)

        return self._app(environ, start)

    def _common(self, headers: _Headers, environ: "WSGIEnvironment") -> _Headers:
        present = {name.lower(): value for name, value in headers}
        is_page = present.get("content-type", "").startswith("text/html")
        common = (self._page if is_page else self._answer) + self._cors(environ)
        # A proxy that ignores X-API-Key must not store one caller's answer for another caller.
        return common if "cache-control" in present else [*common, ("Cache-Control", "no-store")]

    def _cors(self, environ: "WSGIEnvironment") -> _Headers:
        """Return the CORS headers, which let pages of allowed origins read the response."""
        origin = "*"
        vary: _Headers = []
        if "*" not in self._origins:
            origin, vary = environ.get("HTTP_ORIGIN", ""), [("Vary", "Origin")]
            if origin not in self._origins:
                return vary
        cors = [*vary, ("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", _EXPOSED)]
        if environ["REQUEST_METHOD"] == "OPTIONS":
            requested = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS")
            cors += [
                ("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS"),
                ("Access-Control-Allow-Headers", requested or _ALLOWED),
                ("Access-Control-Max-Age", "86400"),
            ]
        return cors
