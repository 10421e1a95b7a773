"""Adds security headers and CORS headers to every response."""

from gateway.request import Request
from gateway.response import Response

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

_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers that do not support the directive frame-ancestors
    "Referrer-Policy": "no-referrer",
}


class CommonHeaders:
    """Adds the common headers to responses."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = origins

    def add(self, request: Request, response: Response) -> None:
        """Add the common headers to a response."""
        # A 304 response has no content type, so the suitable Content-Security-Policy is unknown. The
        # response therefore has no policy, and the browser uses the policy of its cached copy.
        if response.status == 304:
            return
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        response.headers |= _SECURITY
        response.headers["Content-Security-Policy"] = _PAGE_POLICY if is_page else _ANSWER_POLICY
        self._add_cors(request, response.headers)
        # A proxy that ignores the header X-API-Key must not return one caller's stored answer to another
        # caller.
        response.headers.setdefault("Cache-Control", "no-store")

    def _add_cors(self, request: Request, headers: dict[str, str]) -> None:
        """Add the CORS headers that allow web pages of the allowed origins to read the response."""
        origin = "*"
        if "*" not in self._origins:
            origin, headers["Vary"] = request.headers.get("origin", ""), "Origin"
            if origin not in self._origins:
                return
        headers |= {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED}
        if request.method == "OPTIONS":
            headers["Access-Control-Allow-Methods"] = "GET, POST, DELETE, OPTIONS"
            requested = request.headers.get("access-control-request-headers")
            headers["Access-Control-Allow-Headers"] = requested or _ALLOWED
            headers["Access-Control-Max-Age"] = "86400"
