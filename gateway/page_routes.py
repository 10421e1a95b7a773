"""Returns the web page at `/`. The page sends an image to the service and shows the image's classes.

The web page consists of static files that need no build step. The page uses the same HTTP API as other
clients.
"""

from pathlib import Path

from flask import Blueprint, Response, abort, send_from_directory

from gateway.route_policy import route

bp = Blueprint("page", __name__)

_FOLDER = Path(__file__).parent / "static" / "page"

FILES = tuple(sorted(path.name for path in _FOLDER.iterdir() if path.name != "index.html"))
"""Names of the files that the web page at `/` loads."""


@route(bp, "/", public=True, limited=False)
def page() -> Response:
    """Return the web page.

    The page's links are relative, so the page also works behind a proxy's path prefix.
    """
    return send_from_directory(_FOLDER, "index.html")


@route(bp, "/page/<file>", public=True, limited=False)
def page_file(file: str) -> Response:
    """Return a script, the style sheet or the icon of the web page."""
    if file not in FILES:
        abort(404)
    return send_from_directory(_FOLDER, file)
