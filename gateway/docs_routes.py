"""Returns the OpenAPI document at /openapi.json and Swagger UI at /docs.

Browsers load Swagger UI's files from this server, not from the internet.
"""

from importlib.resources import files
from pathlib import Path

from flask import Blueprint, Response, abort, send_from_directory

from gateway.openapi import DOCS_FILES, Json, document
from gateway.resources import resources
from gateway.route_policy import route

bp = Blueprint("docs", __name__)

_STATIC = Path(__file__).parent / "static"
_SWAGGER_UI = Path(str(files("flask_swagger_ui"))) / "dist"


@route(bp, "/openapi.json")
def openapi() -> Json:
    """Return the OpenAPI document, with the limits that this server's settings define."""
    return document(resources().settings)


@route(bp, "/docs")
def page() -> Response:
    """Return Swagger UI's HTML page.

    The page's links are relative, so the page also works behind a proxy's path prefix.
    """
    return send_from_directory(_STATIC, "docs.html")


@route(bp, "/docs/<file>")
def page_file(file: str) -> Response:
    """Return a script or the style sheet of Swagger UI."""
    if file not in DOCS_FILES:
        abort(404)
    return send_from_directory(_STATIC if file == "docs.js" else _SWAGGER_UI, file)
