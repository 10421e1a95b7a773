"""The specification of the service (OpenAPI 3.1), with the limits of its settings.

`images`, `jobs` and `about` have the calls, `guard` what keys and limits add to them, `examples.json` real
answers. Tests hold it to the routes that are served, and to what a running server answers.
"""

from importlib.metadata import version

from gateway.openapi import about, images, jobs
from gateway.openapi.guard import SCHEMES, guarded, keys_are_set
from gateway.openapi.headers import HEADERS
from gateway.openapi.parts import Json
from gateway.openapi.schemas import SCHEMAS
from shared.settings import Settings

_DESCRIPTION = """\
Photos in, classes out. `POST /classify` answers at once; `POST /jobs` takes many images, to ask for their
answers later.

Errors are `application/problem+json`: what was wrong, where, what to do. 4xx is the caller's. After a 429
(the queue is full) or a 503 (no worker, or the queue's server is away) the same request may succeed later:
`Retry-After` says when.

Each answer carries `X-Request-Id`: the caller's own, of up to 128 letters, digits and `_.:-`, or a new one.
"""

_TAGS = {
    "images": "One image, answered at once",
    "jobs": "Many images, answered later; a job is forgotten {} s after its end",
    "model": "What is served",
    "health": "For load balancers, orchestrators and Prometheus",
    "this document": "The calls themselves",
}


def document(settings: Settings) -> Json:
    """The specification, as it is true under these settings."""
    paths = {**images.paths(settings), **jobs.paths(settings), **about.paths()}
    keys: Json = {"security": [{scheme: []} for scheme in SCHEMES]} if keys_are_set(settings) else {}
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "classification-server",
            "version": version("classification-server"),
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [
            {"name": name, "description": text.format(settings.result_ttl)} for name, text in _TAGS.items()
        ],
        "paths": guarded(paths, settings),
        "components": {
            "schemas": SCHEMAS,
            "headers": HEADERS,
            **({"securitySchemes": SCHEMES} if keys else {}),
        },
        **keys,
    }
