"""The parts of the gateway that depend on undocumented details of gunicorn.

This code was checked with gunicorn 27.0.1 (requirements/dev.lock). After an upgrade of gunicorn, run the
test of each part:

cache_settings  Reads `Config.settings`, and stores each setting as an attribute of gunicorn's `Config`
                object. `Config` accepts new attributes, because it has no `__slots__`. gunicorn reads two
                dozen settings during each request. With faster reads of these settings and rarer garbage
                collections, a request needs 1.04 ms instead of 1.23 ms of CPU time (docs/performance.md).
                Test: tests/unit/test_gunicorn_conf.py
remove_quotes   Uses the text of gunicorn's log record about an invalid request. The record quotes a part of
                the request, which may contain an API key. Test: tests/e2e/test_security.py
GatewayWorker   Uses gunicorn's methods `timeout_ctx` and `handle_request`, and a request's `unreader.buf`.
                Tests: tests/e2e/test_keep_alive.py, tests/e2e/test_slow_clients.py
DelayedStop     Uses `Worker.handle_exit` and `Worker.alive`. Without `DelayedStop`, gunicorn would close
                its listening socket immediately after SIGTERM. The kernel would then reset connections
                that gunicorn has not yet accepted. Test: tests/e2e/test_operations.py
loaded_app      Uses `Worker.wsgi`. Test: tests/e2e/test_operations.py
"""

import logging
import signal
import socket
from contextlib import suppress
from typing import Any

import gevent
from gevent.socket import wait_read
from gunicorn.workers.ggevent import GeventWorker  # type: ignore[import-untyped]

HEADER_SECONDS = 5.0
"""Maximum time for a request's header, in seconds. A new connection must send its first header within it."""


def cache_settings(cfg: Any) -> None:
    """Store gunicorn's settings as attributes of `cfg`. The settings do not change after gunicorn's start."""
    vars(cfg).update((name, setting.get()) for name, setting in cfg.settings.items())


def remove_quotes(record: logging.LogRecord) -> bool:
    """Remove the quoted part of a request from a log record.

    gunicorn's logger uses this function as a filter. Return True, so that the logger keeps the record.
    """
    if str(record.msg).startswith("Invalid request"):
        record.msg = str(record.msg).partition("'")[0]
    return True


class GatewayWorker(GeventWorker):  # type: ignore[misc]
    """gunicorn's gevent worker, which has separate maximums for an idle connection and for a header.

    gunicorn applies `keepalive` to both, so slow clients could occupy connections for `keepalive` seconds.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._idle: set[Any] = set()

    def timeout_ctx(self) -> Any:
        """Return the time limit for a header."""
        return gevent.Timeout(HEADER_SECONDS, False)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer a request, and wait until the connection's next request begins.

        Raises:
            StopIteration: the connection ends.
        """
        super().handle_request(listener_name, req, sock, addr)
        if not self.alive:
            raise StopIteration
        if not req.unreader.buf.getvalue():  # else the next request has already arrived
            self._idle.add(sock)
            try:
                wait_read(sock.fileno(), self.cfg.keepalive, StopIteration)
            finally:
                self._idle.discard(sock)

    def handle_exit(self, *signal_and_frame: Any) -> None:
        """Stop, and wake up the idle connections, so that they end now and do not delay the stop."""
        super().handle_exit(*signal_and_frame)
        for sock in self._idle:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RD)  # a request that has already arrived is still answered


class DelayedStop:
    """Delays the stop of a gateway process.

    The process still accepts requests for some seconds after SIGTERM. Immediately after SIGTERM, the health
    check reports that the gateway is stopping. A load balancer then sends new requests to another gateway.
    """

    def __init__(self, worker: Any, seconds: float) -> None:
        self._worker, self._seconds = worker, seconds
        self._has_begun = False
        signal.signal(signal.SIGTERM, self._begin)

    def _begin(self, *signal_and_frame: Any) -> None:
        self._has_begun = True
        gevent.spawn_later(self._seconds, self._worker.handle_exit, *signal_and_frame)

    def is_draining(self) -> bool:
        """Return whether the gateway process is stopping."""
        return self._has_begun or not self._worker.alive


def loaded_app(worker: Any) -> Any:
    """Return the WSGI app that a gunicorn worker has loaded."""
    return worker.wsgi
