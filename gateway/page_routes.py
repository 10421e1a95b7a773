"""Serves the web page at `/`, which classifies an image and shows its classes and the service's load.

The page consists of static files, which need no build step. The page uses the same HTTP
API as every other client.
"""

from pathlib import Path

from flask import Blueprint, Response, abort, send_from_directory

bp = Blueprint("page", __name__)

_FOLDER = Path(__file__).parent / "static" / "page"

FILES = tuple(sorted(path.name for path in _FOLDER.iterdir() if path.name != "index.html"))
"""Names of the files that the page loads."""


@bp.get("/")
def page() -> Response:
    """Return the web page. With its relative links, the page also works behind a proxy's path prefix."""
    return send_from_directory(_FOLDER, "index.html")


@bp.get("/page/<file>")
def page_file(file: str) -> Response:
    """Return a script, the style sheet or the icon of the web page."""
    if file not in FILES:
        abort(404)
    return send_from_directory(_FOLDER, file)
