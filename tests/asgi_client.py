"""A test client for ASGI applications, with the methods of Flask's test client."""

from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.test import Client, TestResponse
from werkzeug.wrappers import Response

from tests.background import begin

CHUNK = 65_536


class AsgiClient(Client):
    """Sends requests to an ASGI application."""

    def __init__(self, application: Any) -> None:
        super().__init__(self._call, Response)
        self.front: Any = application

    def open(self, *args: Any, environ_base: dict[str, str] | None = None, **kwargs: Any) -> TestResponse:
        peer = {"REMOTE_ADDR": "127.0.0.1"} | (environ_base or {})
        return super().open(*args, environ_base=peer, **kwargs)

    def _call(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        sent: list[dict[str, Any]] = []
        left = int(environ.get("CONTENT_LENGTH") or 0)

        async def receive() -> dict[str, Any]:
            nonlocal left
            if sent:  # the caller goes as soon as the response begins
                return {"type": "http.disconnect"}
            data = environ["wsgi.input"].read(min(left, CHUNK)) if left else b""
            left = left - len(data) if data else 0
            return {"type": "http.request", "body": data, "more_body": left > 0}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        begin(self.front, scope_of(environ), receive, send).result(120)
        start, *bodies = sent
        headers = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
        start_response(f"{start['status']} X", headers)
        return [each.get("body", b"") for each in bodies]


def scope_of(environ: dict[str, Any]) -> dict[str, Any]:
    """Convert a WSGI environment to an ASGI scope."""
    named = {name.removeprefix("HTTP_"): value for name, value in environ.items() if name.startswith("HTTP_")}
    named |= {name: environ[name] for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(name)}
    return {
        "type": "http",
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
        "query_string": environ["QUERY_STRING"].encode("latin-1"),
        "headers": [
            (name.lower().replace("_", "-").encode(), str(value).encode("latin-1"))
            for name, value in named.items()
        ],
        "client": (environ["REMOTE_ADDR"], 1) if environ["REMOTE_ADDR"] else None,
    }
