"""The calls that tell of the model, of health, and of the calls themselves."""

from gateway.openapi.parts import FAULT, NO_WORKER, Json, answer, call, problems, ref, response, text

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
                "Figures for Prometheus",
                responses={
                    "200": response("In the form that `Accept` asks for.", _PROMETHEUS, text()),
                    **problems({500: FAULT}),
                },
            )
        },
        **_this(),
    }


def _cfg(name: str) -> Json:
    return call(
        name,
        "model",
        "What shapes the answers",
        responses={"200": answer("The model and its settings.", ref("Cfg"), "cfg"), **_SERVED},
    )


def _this() -> Json:
    file = {"name": "file", "in": "path", "required": True, "schema": text(enum=list(PAGE_FILES))}
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
        "/docs/{file}": {
            "get": call(
                "getDocsFile",
                "this document",
                "What that page loads",
                parameters=[file],
                responses={
                    "200": response("A script or a style sheet.", ("text/*",), text()),
                    **problems({404: ("It loads nothing of this name.",)}),
                },
            )
        },
        "/": {
            "get": call(
                "getCalls",
                "this document",
                "The calls in short",
                responses={"200": answer("Methods by path.", ref("Calls"))},
            )
        },
    }
