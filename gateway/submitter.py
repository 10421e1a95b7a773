"""Requests that come at the same moment queue their jobs in one trip to Redis."""

import queue
import threading
from concurrent.futures import Future

from shared.queue import JobQueue, NewJob

MOST_TOGETHER = 64

Waiting = tuple[NewJob, float | None, Future[str]]


class Submitter:
    """Queues interactive jobs; those that come while a trip is under way share the next one.

    The thread starts with the first job, so after gunicorn's fork; under gevent it is a greenlet.
    """

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs
        self._waiting: queue.SimpleQueue[Waiting] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, job: NewJob, timeout: float | None) -> str:
        """Queue a job that nobody needs any more after `timeout` seconds; return what the cache did.

        Raises:
            QueueFull: the bound of waiting jobs or of images' bytes is reached.
            RedisError: Redis is away.
        """
        if self._thread is None:
            self._start()
        outcome: Future[str] = Future()
        self._waiting.put((job, timeout, outcome))
        return outcome.result()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="submit", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            together = [self._waiting.get()]
            while len(together) < MOST_TOGETHER and not self._waiting.empty():
                together.append(self._waiting.get())
            self._submit(together)

    def _submit(self, together: list[Waiting]) -> None:
        try:
            outcomes = self._jobs.submit_each([(job, timeout) for job, timeout, _ in together])
        except Exception as error:
            for *_, outcome in together:
                outcome.set_exception(error)
            return
        for (*_, outcome), told in zip(together, outcomes, strict=True):
            if isinstance(told, str):
                outcome.set_result(told)
            else:
                outcome.set_exception(told)
