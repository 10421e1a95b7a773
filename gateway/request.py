"""An HTTP request with its id, its arrival time and its caller."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cached_property
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qsl

from gateway.route_policy import Policy

_SERVER = re.compile(r"\A[a-zA-Z]+://[^/]*")
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)

MAX_PAUSE_SECONDS = 2.0
"""Maximum time between two parts of a body whose content is not needed, in seconds."""

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Request:
    """An HTTP request. Its headers have lower-case names, and repeated headers are joined by commas."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.started = time.monotonic()
        self.scope, self._receive = scope, receive
        self.method: str = scope["method"]
        # The request line may contain a whole URL instead of a path.
        self.path = _SERVER.sub("", scope["path"])
        self.headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            self.headers[name] = f"{self.headers[name]},{value}" if name in self.headers else value
        # A caller that sends the header Expect does not send the body before the gateway reads it.
        is_sent = "content-length" in self.headers or "transfer-encoding" in self.headers
        self.has_unread_body = is_sent and "expect" not in self.headers
        sent_id = self.headers.get("x-request-id", "")
        self.id = sent_id if _REQUEST_ID.fullmatch(sent_id) else token_hex(16)
        self.owner = ""
        """The name of the caller's API key."""
        self.policy, self.route = Policy(), ""
        """The policy and the template of the request's route, for example /jobs/<job_id>."""
        self.answer_headers: dict[str, str] = {}
        """Headers of the response, whatever the response is."""

    async def receive(self) -> dict[str, Any]:
        """Return the body's next part as an ASGI message."""
        message = await self._receive()
        self.has_unread_body = message.get("more_body", False)
        return message

    async def discard_body(self, seconds: float) -> None:
        """Read any rest of the body for at most `seconds` seconds, or until a long pause."""
        end = time.monotonic() + seconds
        with suppress(TimeoutError):
            while self.has_unread_body and (seconds_left := end - time.monotonic()) > 0:
                await asyncio.wait_for(self.receive(), min(seconds_left, MAX_PAUSE_SECONDS))

    @cached_property
    def args(self) -> dict[str, str]:
        """The URL's parameters. If a parameter is repeated, its first value counts."""
        query = self.scope["query_string"].decode("latin-1")
        return dict(reversed(parse_qsl(query, keep_blank_values=True)))

    @property
    def peer(self) -> str:
        """The network address at the other end of the connection, or '' for a Unix socket."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""
