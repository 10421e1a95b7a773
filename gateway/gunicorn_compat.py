"""The parts of the gateway that depend on undocumented details of gunicorn.

This code was checked with gunicorn 27.0.1 (requirements/dev.lock). After an upgrade of gunicorn, run the
test of each part:

cache_settings  Reads `Config.settings`, and stores each setting as an attribute of gunicorn's `Config`
                object. `Config` accepts new attributes, because it has no `__slots__`. gunicorn's reads of
                its settings are then faster. Test: tests/unit/test_gunicorn_conf.py
Connection      Uses `ASGIProtocol` with `_awaiting_request`, `_body_receiver`, `_cancel_keepalive_timer`,
                `_closed`, `_keepalive_handle`, `_keepalive_timeout`, `_request_ready`,
                `_send_response_start` and `_send_error_response`. gunicorn itself waits without end for a
                header, accepts any number of connections, does not log invalid requests, and closes no
                idle connections when it stops.
                Tests: tests/e2e/test_slow_clients.py, tests/e2e/test_security.py,
                tests/e2e/test_same_answers.py
DelayedStop     Uses `ASGIWorker.handle_exit_signal`, `loop`, `ppid` and `alive`. Without `DelayedStop`,
                gunicorn would soon close its listening socket after SIGTERM.
                Tests: tests/e2e/test_operations.py, tests/e2e/test_chaos.py
loaded_app      Uses `ASGIWorker.asgi`. Test: tests/e2e/test_operations.py
"""

import asyncio
import os
import signal
from http import HTTPStatus
from typing import Any, ClassVar

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

MAX_HEADER_SECONDS = 5.0
"""Maximum time from the first byte of a request, or from the start of a connection, until the request's
headers have arrived, in seconds."""

READ_SECONDS = 0.1
"""Number of seconds for which the event loop reads a connection once more, before it closes the connection.
After a long delay, the event loop runs the timers first, although requests may have arrived already."""

MAX_IDLE_SECONDS = 3.0
"""Number of seconds after which a stopping process closes its idle connections."""


def cache_settings(cfg: Any) -> None:
    """Store gunicorn's settings as attributes of `cfg`. The settings do not change after gunicorn's start."""
    vars(cfg).update((name, setting.get()) for name, setting in cfg.settings.items())


class Connection(ASGIProtocol):  # type: ignore[misc]
    """One connection to a client."""

    open: ClassVar[set["Connection"]] = set()
    _is_header_partial = False

    def connection_made(self, transport: Any) -> None:
        """Begin to serve a new connection."""
        super().connection_made(transport)
        self.open.add(self)
        self._close_in(MAX_HEADER_SECONDS)
        if self.worker.nr_conns > self.worker.worker_connections:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Limit the time for the headers of a request that has begun."""
        super().data_received(data)
        was_partial, self._is_header_partial = self._is_header_partial, self._is_waiting()
        if self._is_header_partial and not was_partial:
            self._close_in(MAX_HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a closed connection."""
        self.open.discard(self)
        super().connection_lost(exc)

    def close_if_idle(self) -> None:
        """Close the connection if it waits for a request."""
        if self._is_waiting():
            self._keepalive_timeout()

    def _is_waiting(self) -> bool:
        return self._awaiting_request and not self._request_ready.is_set()

    def _close_in(self, seconds: float) -> None:
        self._cancel_keepalive_timer()
        self._keepalive_handle = self.worker.loop.call_later(seconds, self._keepalive_timeout)

    def _keepalive_timeout(self) -> None:
        self._keepalive_handle = self.worker.loop.call_later(READ_SECONDS, self._close_if_waiting)

    def _close_if_waiting(self) -> None:
        if not self._request_ready.is_set():
            super()._keepalive_timeout()

    def _send_response_start(self, status: int, headers: Any, request: Any, close: bool = False) -> None:
        """Send the headers that gunicorn's other workers send: HTTP/1.0 clients need `Connection`."""
        close = close or not self._body_receiver._complete  # gunicorn does not keep such a connection
        kept = () if close else ((b"Connection", b"keep-alive"),)
        super()._send_response_start(status, [*headers, (b"Server", b"gunicorn"), *kept], request, close)

    def _send_error_response(self, status: int, message: str, *headers: Any) -> None:
        """Log and refuse an invalid request.

        The message may quote the request, which may contain an API key, so the status replaces the message.
        """
        if self._closed:  # the caller is gone, so its request has no answer
            return
        peer, reason = self.transport.get_extra_info("peername"), HTTPStatus(status).phrase
        self.log.warning("Invalid request from ip=%s: %s", peer[0] if peer else "", reason)
        super()._send_error_response(status, reason, *headers)


gasgi.ASGIProtocol = Connection


class DelayedStop:
    """Delays the stop of a gateway process.

    The process still accepts requests for some seconds after SIGTERM. Immediately after SIGTERM, the health
    check reports that the gateway is stopping. A load balancer then sends new requests to another gateway.
    """

    def __init__(self, worker: Any, seconds: float) -> None:
        self._worker, self._seconds = worker, seconds
        self._has_begun = False
        self._loop: asyncio.AbstractEventLoop = worker.loop
        self._loop.add_signal_handler(signal.SIGTERM, self._begin)
        self._watch_master()

    def _begin(self) -> None:
        self._has_begun = True
        self._loop.call_later(self._seconds, self._end)

    def _end(self) -> None:
        self._worker.handle_exit_signal()
        self._loop.call_later(MAX_IDLE_SECONDS, self._close_idle)

    def _watch_master(self) -> None:
        """Stop if the master process is gone. gunicorn itself would still answer on open connections."""
        if self._worker.ppid == os.getppid():
            self._loop.call_later(1.0, self._watch_master)
        else:
            self._end()

    def _close_idle(self) -> None:
        for connection in [*Connection.open]:
            connection.close_if_idle()

    def is_draining(self) -> bool:
        """Return whether the gateway process is stopping."""
        return self._has_begun or not self._worker.alive


def loaded_app(worker: Any) -> Any:
    """Return the ASGI application that a gunicorn worker has loaded."""
    return worker.asgi
