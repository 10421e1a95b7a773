"""An HTTP response."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# The order of the names is kept: the best predictions are first.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass
class Response:
    """A response with its whole body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None, kind: str = "application/json"
) -> Response:
    """Return a response whose body is a JSON document."""
    return Response(status, f"{_encode(value)}\n".encode(), {"Content-Type": kind, **(headers or {})})
