"""The page for people at `/`: a picture in, its classes as bars, and how the service does.

Static files and no build step. It calls what any other client calls, so it knows nothing that they can't.
"""

from pathlib import Path

from flask import Blueprint, Response, abort, send_from_directory

bp = Blueprint("page", __name__)

_FOLDER = Path(__file__).parent / "static" / "page"

FILES = tuple(sorted(path.name for path in _FOLDER.iterdir() if path.name != "index.html"))
"""What the page loads."""


@bp.get("/")
def page() -> Response:
    """The page; its links are relative, so that it works behind a proxy's path prefix too."""
    return send_from_directory(_FOLDER, "index.html")


@bp.get("/page/<file>")
def page_file(file: str) -> Response:
    """A script, the style sheet or the icon of the page."""
    if file not in FILES:
        abort(404)
    return send_from_directory(_FOLDER, file)
