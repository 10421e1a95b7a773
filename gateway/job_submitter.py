"""Submits the jobs of several simultaneous HTTP requests with one Redis command."""

import queue
import threading
from contextlib import suppress

from gateway.reply_listener import PendingReply
from shared.queue.gateway_client import GatewayQueue
from shared.queue.messages import NewJob

MAX_JOBS_PER_COMMAND = 64
"""Maximum number of jobs that one Redis command submits."""

EAGER_JOBS = 8
"""Minimum number of unsent jobs at which a request submits these jobs itself. Workers begin jobs earlier if
a request submits these jobs itself. If there are fewer unsent jobs, the submitter's thread submits them."""

Submission = tuple[NewJob, float | None, PendingReply]


class JobSubmitter:
    """Submits interactive jobs to the queue.

    New jobs wait while a Redis command runs. The next Redis command submits all waiting jobs together.

    The submitter's thread starts at the first job, after gunicorn has forked its processes. Under gevent,
    the submitter's thread is a greenlet.
    """

    def __init__(self, jobs: GatewayQueue) -> None:
        self._jobs = jobs
        self._submissions: queue.SimpleQueue[Submission] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, job: NewJob, timeout: float, pending: PendingReply) -> None:
        """Submit a job that expires if it has no answer after `timeout` seconds.

        Later, `pending` records that the job is queued. If the job could not be queued, `pending` records the
        error (QueueFull or RedisError).
        """
        if self._thread is None:
            self._start()
        self._submissions.put((job, timeout, pending))
        if self._submissions.qsize() >= EAGER_JOBS:
            self._submit(self._take(EAGER_JOBS))

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="submit", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            first = self._submissions.get()
            self._submit([first, *self._take(MAX_JOBS_PER_COMMAND - 1)])

    def _take(self, max_jobs: int) -> list[Submission]:
        taken: list[Submission] = []
        with suppress(queue.Empty):
            while len(taken) < max_jobs:
                taken.append(self._submissions.get_nowait())
        return taken

    def _submit(self, submissions: list[Submission]) -> None:
        if not submissions:  # another thread has already submitted these jobs
            return
        try:
            outcomes = self._jobs.submit_each([(job, timeout) for job, timeout, _ in submissions])
        except Exception as error:
            for *_, pending in submissions:
                pending.fail(error)
            return
        for (*_, pending), outcome in zip(submissions, outcomes, strict=True):
            if isinstance(outcome, str):
                pending.mark_queued(outcome)
            else:
                pending.fail(outcome)
