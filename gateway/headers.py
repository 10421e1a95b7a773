"""Headers that tell browsers what an answer may be used for."""

from flask import Response

_ANSWERS = "default-src 'none'; frame-ancestors 'none'"
"""Of answers that are no pages: shown in a browser, they load nothing and stand in no frame."""

_PAGES = (  # blob: is a picture that the page's reader has chosen, before it is sent
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""Of our pages: scripts and styles are files of this server, none stands in the page itself."""


def secure(response: Response) -> None:
    """Add the security headers."""
    is_page = response.mimetype == "text/html"
    response.headers["Content-Security-Policy"] = _PAGES if is_page else _ANSWERS
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"  # for browsers before frame-ancestors
    response.headers["Referrer-Policy"] = "no-referrer"
    # Answers are their callers' own; a proxy that does not know X-API-Key must keep none for another.
    response.headers.setdefault("Cache-Control", "no-store")
