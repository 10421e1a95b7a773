"""The calls that tell of the model, of health, and of the calls themselves."""

from gateway import page_routes
from gateway.openapi.parts import (
    AWAY,
    FAULT,
    NO_WORKER,
    Json,
    answer,
    call,
    problems,
    ref,
    response,
    text,
)

PAGE_FILES = ("docs.js", "swagger-ui-bundle.js", "swagger-ui.css")
"""What the page at /docs loads."""

_PROMETHEUS = ("text/plain", "application/openmetrics-text")
_SERVED = problems({500: FAULT, 503: NO_WORKER})


def paths() -> Json:
    """The calls, by path and method."""
    return {
        "/classes": {
            "get": call(
                "getClasses",
                "model",
                "The classes",
                responses={"200": answer("Their names.", ref("Classes"), "classes"), **_SERVED},
            )
        },
        "/cfg": {"get": _cfg("getCfg"), "post": _cfg("postCfg")},
        "/health/live": {
            "get": call(
                "getLive",
                "health",
                "Whether the process is up",
                responses={"200": answer("It is.", ref("Live"), "live")},
            )
        },
        "/health/ready": {
            "get": call(
                "getReady",
                "health",
                "Whether an image would be answered",
                responses={"200": answer("It would.", ref("Ready"), "ready"), **_SERVED},
            )
        },
        "/metrics": {
            "get": call(
                "getMetrics",
                "health",
                "WorkerMetrics for Prometheus",
                responses={
                    "200": response("In the form that `Accept` asks for.", _PROMETHEUS, text()),
                    **problems({500: FAULT}),
                },
            )
        },
        "/status": {
            "get": call(
                "getStatus",
                "health",
                "How busy the service is",
                responses={
                    "200": answer("Its figures now; who asks twice has the rates.", ref("Status"), "status"),
                    **problems({500: FAULT, 503: AWAY}),
                },
            )
        },
        **_page(),
        **_this(),
    }


def _page() -> Json:
    return {
        "/": {
            "get": call(
                "getPage",
                "images",
                "The page for people: a picture in, its classes as bars",
                responses={"200": response("The page.", ("text/html",), text())},
            )
        },
        "/page/{file}": {
            "get": _file("getPageFile", "images", page_routes.FILES, ("text/*", "image/svg+xml")),
        },
    }


def _file(name: str, tag: str, files: tuple[str, ...], types: tuple[str, ...]) -> Json:
    file = {"name": "file", "in": "path", "required": True, "schema": text(enum=list(files))}
    return call(
        name,
        tag,
        "What that page loads",
        parameters=[file],
        responses={
            "200": response("A script, a style sheet or an icon.", types, text()),
            **problems({404: ("It loads nothing of this name.",)}),
        },
    )


def _cfg(name: str) -> Json:
    return call(
        name,
        "model",
        "What shapes the answers",
        responses={"200": answer("The model and its settings.", ref("Cfg"), "cfg"), **_SERVED},
    )


def _this() -> Json:
    return {
        "/openapi.json": {
            "get": call(
                "getOpenapi",
                "this document",
                "The document",
                responses={"200": answer("OpenAPI 3.1.", {"type": "object"})},
            )
        },
        "/docs": {
            "get": call(
                "getDocs",
                "this document",
                "The document as a page on which calls can be tried",
                responses={"200": response("The page.", ("text/html",), text())},
            )
        },
        "/docs/{file}": {"get": _file("getDocsFile", "this document", PAGE_FILES, ("text/*",))},
    }
