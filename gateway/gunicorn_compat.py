"""What the gateway uses of gunicorn that is not gunicorn's public interface.

Checked with gunicorn 27.0.1 (requirements/dev.lock). After an upgrade, run the test of each part:

cache_settings  Uses `Config.settings`, and that `Config` has no slots. gunicorn searches for two dozen
                settings in each request. With attributes and fewer garbage collections, a request costs the
                gateway 1.04 ms of CPU instead of 1.23 (docs/performance.md).
                Test: tests/unit/test_gunicorn_conf.py
remove_quotes   Uses the text of the log record about an invalid request. The quoted part of the request
                may contain an API key. Test: tests/e2e/test_security.py
DelayedStop     Uses `Worker.handle_exit` and `Worker.alive`. gunicorn alone closes its listener at SIGTERM,
                and the kernel resets the connections that wait in it. Test: tests/e2e/test_operations.py
loaded_app      Uses `Worker.wsgi`. Test: tests/e2e/test_operations.py
"""

import logging
import signal
from typing import Any

import gevent


def cache_settings(cfg: Any) -> None:
    """Make gunicorn's settings, which no longer change, plain attributes."""
    vars(cfg).update((name, setting.get()) for name, setting in cfg.settings.items())


def remove_quotes(record: logging.LogRecord) -> bool:
    """Remove the quoted part of a request from a log record, as a filter that keeps every record."""
    if str(record.msg).startswith("Invalid request"):
        record.msg = str(record.msg).partition("'")[0]
    return True


class DelayedStop:
    """On SIGTERM, lets a process accept requests for some more seconds before gunicorn stops it.

    /health reports the stop immediately, so a load balancer sends its next requests to another gateway.
    """

    def __init__(self, worker: Any, seconds: float) -> None:
        self._worker, self._seconds = worker, seconds
        self._has_begun = False
        signal.signal(signal.SIGTERM, self._begin)

    def _begin(self, *signal_and_frame: Any) -> None:
        self._has_begun = True
        gevent.spawn_later(self._seconds, self._worker.handle_exit, *signal_and_frame)

    def is_draining(self) -> bool:
        """Return whether the process is stopping."""
        return self._has_begun or not self._worker.alive


def loaded_app(worker: Any) -> Any:
    """Return the WSGI app that a gunicorn worker has loaded."""
    return worker.wsgi
