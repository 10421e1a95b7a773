"""Requests that come at the same moment queue their jobs in one trip to Redis."""

import queue
import threading
from contextlib import suppress

from gateway.reply_listener import Waiter
from shared.queue.gateway_client import GatewayQueue
from shared.queue.messages import NewJob

MAX_TOGETHER = 64

ENOUGH_TOGETHER = 8
"""Jobs that don't wait until all requests are read that came at once: a worker begins with them meanwhile."""

Waiting = tuple[NewJob, float | None, Waiter]


class Submitter:
    """Queues interactive jobs; those that come while a trip is under way share the next one.

    The thread starts with the first job, so after gunicorn's fork; under gevent it is a greenlet.
    """

    def __init__(self, jobs: GatewayQueue) -> None:
        self._jobs = jobs
        self._waiting: queue.SimpleQueue[Waiting] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, job: NewJob, timeout: float, waiter: Waiter) -> None:
        """Have a job queued that nobody needs any more after `timeout` seconds.

        The waiter learns that it was, or the reason why not: QueueFull, or RedisError.
        """
        if self._thread is None:
            self._start()
        self._waiting.put((job, timeout, waiter))
        if self._waiting.qsize() >= ENOUGH_TOGETHER:
            self._submit(self._take(ENOUGH_TOGETHER))

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="submit", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            first = self._waiting.get()
            self._submit([first, *self._take(MAX_TOGETHER - 1)])

    def _take(self, most: int) -> list[Waiting]:
        together: list[Waiting] = []
        with suppress(queue.Empty):
            while len(together) < most:
                together.append(self._waiting.get_nowait())
        return together

    def _submit(self, together: list[Waiting]) -> None:
        if not together:  # another thread was faster
            return
        try:
            outcomes = self._jobs.submit_each([(job, timeout) for job, timeout, _ in together])
        except Exception as error:
            for *_, waiter in together:
                waiter.refuse(error)
            return
        for (*_, waiter), told in zip(together, outcomes, strict=True):
            if isinstance(told, str):
                waiter.queued(told)
            else:
                waiter.refuse(told)
