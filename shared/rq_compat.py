"""Contains all code of the service that uses private names of RQ. This code was checked with RQ 3.0.0.

- The worker uses RQ's registration, heartbeat and signal handlers. The worker does not use RQ's loop,
  because RQ's loop runs one job at a time. The tests in tests/e2e/test_faults.py check the worker's use of
  RQ by stopping a worker.
- The webhook sender must not run the callbacks that a job's record names. The tests in
  tests/integration/test_webhooks.py check the webhook sender with records that name other functions.

If RQ renames one of the private attributes, a test in tests/unit/test_rq_compat.py fails.
"""

from datetime import UTC, datetime
from types import FrameType
from typing import Any

from redis import Redis
from rq import SimpleWorker
from rq.job import Job

REPEATED_SIGNAL_SECONDS = 1.0
"""Number of seconds after the first stop signal during which further stop signals are ignored.

For example, two programs may each send a stop signal at almost the same moment."""


class QuietWorker(SimpleWorker):
    """A subclass of RQ's worker without RQ's main loop.

    Each subclass of `QuietWorker` has its own main loop. A subclass stops its main loop in `on_stop`.
    """

    def install_signal_handlers(self) -> None:
        """Install handlers for the signals SIGTERM and SIGINT.

        The first signal causes a call of `on_stop`. A later signal causes a call of `on_forced_stop`.
        """
        self._install_signal_handlers()  # type: ignore[no-untyped-call]

    def on_stop(self) -> None:
        """Begin to stop the worker. A signal handler calls this method."""
        raise NotImplementedError

    def on_forced_stop(self) -> None:
        """End the worker process at once. A signal handler calls this method."""
        raise NotImplementedError

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """Handle a stop signal after the first stop signal.

        The process ends if at least `REPEATED_SIGNAL_SECONDS` have passed since the first stop signal.
        """
        first = self._shutdown_requested_date
        if first and (datetime.now(UTC) - first).total_seconds() >= REPEATED_SIGNAL_SECONDS:
            self.on_forced_stop()

    def _shutdown(self) -> None:
        self.on_stop()

    def _set_connection(self, connection: "Redis") -> "Redis":
        # Without this method, RQ would increase the connection's socket timeout from 10 s to 55 s.
        return connection


class SafeJob(Job):
    """A subclass of RQ's `Job` that ignores the callbacks and webhooks in a job's record."""

    def restore(self, raw_data: Any) -> None:
        """Read RQ's record of the job, and ignore the record's callbacks and webhooks."""
        super().restore(raw_data)
        self._success_callback_name = self._failure_callback_name = self._stopped_callback_name = None
        self.webhooks = []
