"""The specification at /openapi.json, and Swagger UI to read and try it at /docs. No other host is asked."""

from importlib.resources import files
from pathlib import Path

from flask import Blueprint, Response, abort, send_from_directory

from gateway.openapi import DOCS_FILES, Json, document
from gateway.resources import resources

bp = Blueprint("docs", __name__)

_OURS = Path(__file__).parent / "static"
_SWAGGER_UI = Path(str(files("flask_swagger_ui"))) / "dist"


@bp.get("/openapi.json")
def openapi() -> Json:
    """The specification, with the limits of this server's settings."""
    return document(resources().settings)


@bp.get("/docs")
def page() -> Response:
    """The page; its links are relative, so that it works behind a proxy's path prefix too."""
    return send_from_directory(_OURS, "docs.html")


@bp.get("/docs/<file>")
def page_file(file: str) -> Response:
    """A script or style sheet of the page."""
    if file not in DOCS_FILES:
        abort(404)
    return send_from_directory(_OURS if file == "docs.js" else _SWAGGER_UI, file)
