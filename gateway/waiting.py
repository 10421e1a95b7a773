"""Waiting for answers: one listener a process, on one list in Redis, wakes every request that waits."""

import logging
import threading
import time
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from shared.queue import JobQueue, Reply

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How long a request waits before its job is looked up, in case the reply was lost; and how often then."""


class WaitTimeoutError(Exception):
    """The job did not end in time."""


class JobLostError(Exception):
    """Redis does not know the job any more: it lost its data."""


@dataclass
class _Waiter:
    done: threading.Event = field(default_factory=threading.Event)
    since: float = float("inf")  # the start of the wait; the job is queued by then
    reply: Reply | None = None
    lost: bool = False


class ReplyListener:
    """Hands replies to the requests that wait for them.

    `reply_to` names the list that the worker pushes to; it is this process's own. The thread starts with the
    first request, so after gunicorn's fork; under gevent it is a greenlet.
    """

    def __init__(self, queue: JobQueue, reply_to: str) -> None:
        self.reply_to = reply_to
        self._queue = queue
        self._waiters: dict[str, _Waiter] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def register(self, job_id: str) -> None:
        """Expect a reply for a job; called before the job is queued, so that none can come too early."""
        self._waiters[job_id] = _Waiter()
        if self._thread is None:
            self._start()

    def wait(self, job_id: str, timeout: float) -> Reply:
        """Return the reply for a registered job.

        Raises:
            WaitTimeoutError: there was none within `timeout` seconds.
            JobLostError: there will be none.
        """
        waiter = self._waiters[job_id]
        waiter.since = time.monotonic()
        waiter.done.wait(timeout)
        if waiter.lost:
            raise JobLostError(job_id)
        if waiter.reply is None:
            raise WaitTimeoutError(job_id)
        return waiter.reply

    def forget(self, job_id: str) -> None:
        """Expect no more; a late reply is dropped."""
        self._waiters.pop(job_id, None)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="replies", daemon=True)
                self._thread.start()

    def _listen(self) -> None:
        look_at = time.monotonic() + LOOK_SECONDS
        while True:
            try:
                for reply in self._queue.replies(self.reply_to):
                    self._deliver(reply)
                if time.monotonic() >= look_at:
                    self._look_up()
                    look_at = time.monotonic() + LOOK_SECONDS
            except RedisError as error:
                logger.warning("waiting for replies: %s", error)
                look_at = 0.0  # replies may have been lost with the connection
                time.sleep(0.5)
            except Exception:
                logger.exception("a reply could not be read")
                time.sleep(0.5)

    def _deliver(self, reply: Reply) -> None:
        waiter = self._waiters.get(reply.job_id)
        if waiter is not None:
            waiter.reply = reply
            waiter.done.set()

    def _look_up(self) -> None:
        """Ask for the jobs of those that have waited long: nobody is stranded by a reply that got lost."""
        before = time.monotonic() - LOOK_SECONDS
        waiting = [job_id for job_id, waiter in list(self._waiters.items()) if waiter.since < before]
        found = self._queue.results(waiting) if waiting else {}
        for job_id in waiting:
            waiter = self._waiters.get(job_id)
            reply = found.get(job_id)
            if reply is not None:
                self._deliver(reply)
            elif waiter is not None and job_id not in found:
                waiter.lost = True
                waiter.done.set()
