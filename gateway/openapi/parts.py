"""Short ways to write what a specification is made of."""

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]

EXAMPLES: Json = json.loads(Path(__file__).with_name("examples.json").read_text(encoding="utf-8"))
"""What the demo model's server really answered, by a short name of the request."""

NO_WORKER = ("No worker with a model is ready, or the queue's server is away.", "no worker")
AWAY = ("The queue's server is away.",)
FULL = ("The queue is full.", "full")
FAULT = ("A fault of the server; its log has the reason, under the request's id.",)

_HEADERS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}
"""What errors of these kinds come with."""


def ref(name: str) -> Json:
    """One of `gateway.openapi.schemas.SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(description: str = "", **more: Any) -> Json:
    """A string."""
    return _schema("string", description, more)


def integer(description: str = "", **more: Any) -> Json:
    """A whole number."""
    return _schema("integer", description, more)


def number(description: str = "", **more: Any) -> Json:
    """A number."""
    return _schema("number", description, more)


def array(items: Json, description: str = "", **more: Any) -> Json:
    """A list."""
    return _schema("array", description, {"items": items, **more})


def record(properties: Json, description: str = "", *, optional: tuple[str, ...] = ()) -> Json:
    """An object; it has all these properties, but for the optional ones."""
    required = [name for name in properties if name not in optional]
    return _schema("object", description, {"required": required, "properties": properties})


def table(values: Json, description: str = "") -> Json:
    """An object whose names are data."""
    return _schema("object", description, {"additionalProperties": values})


def or_null(schema: Json, description: str = "") -> Json:
    """The same, or null."""
    return {**_told(description), "anyOf": [schema, {"type": "null"}]}


def call(name: str, tag: str, summary: str, **more: Any) -> Json:
    """An operation: what it takes and answers."""
    return {"operationId": name, "tags": [tag], "summary": summary, **more}


def answer(description: str, schema: Json, *examples: str, headers: tuple[str, ...] = ()) -> Json:
    """A response with a JSON body; `examples` are names of `EXAMPLES`."""
    return response(description, ("application/json",), schema, *examples, headers=headers)


def problems(reasons: dict[int, tuple[str, ...]]) -> Json:
    """The responses that are errors, by status: why, and names of `EXAMPLES`."""
    return {
        str(status): response(
            why,
            ("application/problem+json",),
            ref("Problem"),
            *examples,
            headers=_HEADERS.get(status, ()),
        )
        for status, (why, *examples) in reasons.items()
    }


def response(
    description: str,
    media_types: tuple[str, ...],
    schema: Json,
    *examples: str,
    headers: tuple[str, ...] = (),
) -> Json:
    """A response with a body of any kind."""
    body: Json = {"schema": schema}
    if examples:
        body["examples"] = {name: {"value": EXAMPLES[name]} for name in examples}
    named = ("X-Request-Id", *headers)
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in named},
        "content": dict.fromkeys(media_types, body),
    }


def _schema(kind: str, description: str, more: Json) -> Json:
    return {"type": kind, **_told(description), **more}


def _told(description: str) -> Json:
    return {"description": description} if description else {}
