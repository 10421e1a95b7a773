"""Adds security headers and CORS headers to every response."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_ANSWER_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Content-Security-Policy of all responses except HTML pages. A response that is not an HTML page may not
load other files. Other pages may not show the response in a frame."""

_PAGE_POLICY = (  # with "blob:", the page can show an image before it sends the image to the server
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""Content-Security-Policy of HTML pages. Scripts and styles must be files of this server. Inline scripts
and inline styles are forbidden."""

_EXPOSED = (
    "X-Job-Id, X-Request-Id, X-Model, Server-Timing, Retry-After, Location, "
    "Cache-Status, Idempotency-Replayed, Preference-Applied, WWW-Authenticate, "
    "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
)
_ALLOWED = "Content-Type, X-Request-Id, Authorization, X-API-Key"

_Headers = list[tuple[str, str]]

_SECURITY = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),  # for browsers that do not support the directive frame-ancestors
    ("Referrer-Policy", "no-referrer"),
]


class CommonHeaders:
    """WSGI middleware that adds all common headers at once.

    The middleware saves CPU time: Werkzeug would need 3 µs to add each header.
    """

    def __init__(self, app: "WSGIApplication", origins: tuple[str, ...]) -> None:
        self._app, self._origins = app, origins
        self._answer = [*_SECURITY, ("Content-Security-Policy", _ANSWER_POLICY)]
        self._page = [*_SECURITY, ("Content-Security-Policy", _PAGE_POLICY)]

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Call the app, and add the common headers to its response."""

        def start(status: str, headers: _Headers, exc_info: Any = None) -> Callable[[bytes], object]:
            # A 304 response has no content type, so the suitable Content-Security-Policy is unknown. The
            # response therefore has no policy, and the browser uses the policy of its cached copy.
            if status.startswith("304"):
                return start_response(status, headers, exc_info)
            return start_response(status, headers + self._common(headers, environ), exc_info)

        return self._app(environ, start)

    def _common(self, headers: _Headers, environ: "WSGIEnvironment") -> _Headers:
        present = {name.lower(): value for name, value in headers}
        is_page = present.get("content-type", "").startswith("text/html")
        common = (self._page if is_page else self._answer) + self._cors(environ)
        # A proxy that ignores the header X-API-Key must not return one caller's stored answer to another
        # caller.
        return common if "cache-control" in present else [*common, ("Cache-Control", "no-store")]

    def _cors(self, environ: "WSGIEnvironment") -> _Headers:
        """Return the CORS headers that allow web pages of the allowed origins to read the response."""
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
