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
DelayedStop     Uses `Worker.handle_exit` and `Worker.alive`. Without `DelayedStop`, gunicorn would close
                its listening socket immediately after SIGTERM. The kernel would then reset connections
                that gunicorn has not yet accepted. Test: tests/e2e/test_operations.py
loaded_app      Uses `Worker.wsgi`. Test: tests/e2e/test_operations.py
"""

import logging
import signal
from typing import Any

import gevent


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
