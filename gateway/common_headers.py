"""Headers that every answer has: what browsers may use it for, and pages of which origin may read it."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_ANSWERS = "default-src 'none'; frame-ancestors 'none'"
"""Of answers that are no pages: shown in a browser, they load nothing and stand in no frame."""

_PAGES = (  # blob: is a picture that the page's reader has chosen, before it is sent
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""Of our pages: scripts and styles are files of this server, none stands in the page itself."""

_EXPOSED = (
    "X-Job-Id, X-Request-Id, X-Model, Server-Timing, Retry-After, Location, "
    "Cache-Status, Idempotency-Replayed, Preference-Applied, WWW-Authenticate, "
    "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
)
_ACCEPTED = "Content-Type, X-Request-Id, Authorization, X-API-Key"

_Headers = list[tuple[str, str]]

_SECURITY = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),  # for browsers before frame-ancestors
    ("Referrer-Policy", "no-referrer"),
]


class CommonHeaders:
    """Adds them to what the app answers: one list to another, as Werkzeug's headers take 3 µs each."""

    def __init__(self, app: "WSGIApplication", origins: tuple[str, ...]) -> None:
        self._app, self._origins = app, origins
        self._answer = [*_SECURITY, ("Content-Security-Policy", _ANSWERS)]
        self._page = [*_SECURITY, ("Content-Security-Policy", _PAGES)]

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Call the app."""

        def start(status: str, headers: _Headers, exc_info: Any = None) -> Callable[[bytes], object]:
            if status.startswith("304"):  # what the browser has keeps its own, as a page's differ
                return start_response(status, headers, exc_info)
            return start_response(status, headers + self._common(headers, environ), exc_info)

        return self._app(environ, start)

    def _common(self, headers: _Headers, environ: "WSGIEnvironment") -> _Headers:
        told = {name.lower(): value for name, value in headers}
        page = told.get("content-type", "").startswith("text/html")
        common = (self._page if page else self._answer) + self._allowed(environ)
        # Answers are their callers' own; a proxy that does not know X-API-Key must keep none for another.
        return common if "cache-control" in told else [*common, ("Cache-Control", "no-store")]

    def _allowed(self, environ: "WSGIEnvironment") -> _Headers:
        """What lets pages of other origins read the answer."""
        origin = "*"
        vary: _Headers = []
        if "*" not in self._origins:
            origin, vary = environ.get("HTTP_ORIGIN", ""), [("Vary", "Origin")]
            if origin not in self._origins:
                return vary
        allowed = [
            *vary,
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", _EXPOSED),
        ]
        if environ["REQUEST_METHOD"] == "OPTIONS":
            asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS")
            allowed += [
                ("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS"),
                ("Access-Control-Allow-Headers", asked or _ACCEPTED),
                ("Access-Control-Max-Age", "86400"),
            ]
        return allowed
