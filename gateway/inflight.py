"""Submits jobs, and lets HTTP requests wait for the jobs' replies.

One thread of each gateway process submits the jobs of simultaneous requests with one Redis command. Another
thread reads the workers' replies from Redis. Both threads start at the first job, after gunicorn has forked
its processes. Under gevent, both threads are greenlets.
"""

import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import replace

from redis.exceptions import RedisError

from shared.queue.gateway_client import GatewayQueue
from shared.queue.messages import NewJob, Reply

logger = logging.getLogger(__name__)

MAX_JOBS_PER_COMMAND = 64
"""Maximum number of jobs that one Redis command submits."""

EAGER_JOBS = 8
"""Minimum number of unsent jobs at which a request submits these jobs itself. Workers begin jobs earlier if
a request submits these jobs itself. If there are fewer unsent jobs, the submitting thread submits them."""

LOOKUP_SECONDS = 5.0
"""Number of seconds after which an unanswered job is looked up in Redis. The reply to an unanswered job may
have been lost."""


class TimedOut(Exception):
    """A job has no reply yet, but its request may not wait longer."""


class JobLost(Exception):
    """Redis lost a job together with other data."""


class PendingJob:
    """One request's wait for one job. `queued` has the job's cache outcome, and `replied` the reply."""

    def __init__(self) -> None:
        self.queued: Future[str] = Future()
        self.replied: Future[Reply] = Future()
        self.queued_at = float("inf")

    def mark_queued(self, cache_outcome: str = "") -> None:
        """Record that the job is queued. `cache_outcome` is a value of `Submitted.cache`."""
        self.queued_at = time.monotonic()
        self.queued.set_result(cache_outcome)


Submission = tuple[NewJob, float | None, PendingJob]


class InFlight:
    """Runs jobs for HTTP requests. `reply_to` names this process's own Redis list for replies."""

    def __init__(self, jobs: GatewayQueue, reply_to: str) -> None:
        self.reply_to = reply_to
        self._jobs = jobs
        self._unsent: queue.SimpleQueue[Submission] = queue.SimpleQueue()
        self._pending: defaultdict[str, set[PendingJob]] = defaultdict(set)
        self._lock = threading.Lock()
        self._threads: dict[Callable[[], None], threading.Thread] = {}

    def run(self, job: NewJob, timeout: float, *, expires: bool = True) -> Reply:
        """Submit an interactive job, and wait at most `timeout` seconds for its reply.

        If `expires` is true, no worker begins the job after `timeout` seconds. Otherwise the method returns
        or fails only after the job is queued.

        Raises:
            QueueFull: the queue refused the job.
            RedisError: the job could not be queued.
            JobLost: Redis lost the job.
            TimedOut: there is no reply after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        with self.expect([job.id]) as (pending,):
            self._submit(job, timeout if expires else None, pending)
            if not wait([pending.queued], timeout if expires else None).done:
                raise TimedOut
            cache_outcome = pending.queued.result()
            seconds_left = end - time.monotonic()
            if seconds_left <= 0 or not wait([pending.replied], seconds_left).done:
                raise TimedOut
            return replace(pending.replied.result(), cache=cache_outcome)

    def wait_for_any(self, job_ids: Iterable[str], timeout: float, owner: str = "") -> None:
        """Wait until one of these jobs ends, but at most `timeout` seconds.

        If a job is unknown, has already ended or belongs to another caller than `owner`, return immediately.
        """
        end = time.monotonic() + timeout
        with self.expect(job_ids) as pending:
            if not self._jobs.watch([*job_ids], self.reply_to, owner):
                for each in pending:
                    each.mark_queued()
                wait([each.replied for each in pending], end - time.monotonic(), FIRST_COMPLETED)

    @contextmanager
    def expect(self, job_ids: Iterable[str]) -> Iterator[list[PendingJob]]:
        """Collect replies to these jobs while the context is open. Open the context before queueing."""
        expected = {job_id: PendingJob() for job_id in job_ids}
        with self._lock:
            for job_id, pending in expected.items():
                self._pending[job_id].add(pending)
        self._start(self._listen)
        try:
            yield [*expected.values()]
        finally:
            with self._lock:
                for job_id, pending in expected.items():
                    self._pending[job_id].discard(pending)
                    if not self._pending[job_id]:
                        del self._pending[job_id]

    def _start(self, run: Callable[[], None]) -> None:
        with self._lock:
            if run not in self._threads:
                self._threads[run] = threading.Thread(target=run, name=run.__name__, daemon=True)
                self._threads[run].start()

    def _submit(self, job: NewJob, timeout: float | None, pending: PendingJob) -> None:
        self._start(self._send_all)
        self._unsent.put((job, timeout, pending))
        if self._unsent.qsize() >= EAGER_JOBS:
            self._send(self._take(EAGER_JOBS))

    def _send_all(self) -> None:
        while True:
            first = self._unsent.get()
            self._send([first, *self._take(MAX_JOBS_PER_COMMAND - 1)])

    def _take(self, max_jobs: int) -> list[Submission]:
        taken: list[Submission] = []
        with suppress(queue.Empty):
            while len(taken) < max_jobs:
                taken.append(self._unsent.get_nowait())
        return taken

    def _send(self, submissions: list[Submission]) -> None:
        if not submissions:  # another thread has already submitted these jobs
            return
        outcomes: list[str | Exception]
        try:
            outcomes = [*self._jobs.submit_each([(job, timeout) for job, timeout, _ in submissions])]
        except Exception as error:
            outcomes = [error] * len(submissions)
        for (*_, pending), outcome in zip(submissions, outcomes, strict=True):
            if isinstance(outcome, str):
                pending.mark_queued(outcome)
            else:
                pending.queued.set_exception(outcome)

    def _listen(self) -> None:
        lookup_at, min_age = time.monotonic() + LOOKUP_SECONDS, LOOKUP_SECONDS
        while True:
            try:
                for reply in self._jobs.replies(self.reply_to):
                    self._deliver(reply.job_id, reply)
                if time.monotonic() >= lookup_at:
                    self._look_up(min_age)
                    lookup_at, min_age = time.monotonic() + LOOKUP_SECONDS, LOOKUP_SECONDS
            except RedisError as error:
                logger.warning("replies not read from Redis: %s", error)
                lookup_at, min_age = 0.0, 0.0  # look up new jobs too, because their replies may be lost
                time.sleep(0.5)
            except Exception:
                logger.exception("malformed reply skipped")
                time.sleep(0.5)

    def _deliver(self, job_id: str, reply: Reply | None) -> None:
        """Wake all requests that wait for a job. If there is no reply, Redis has lost the job."""
        with self._lock:
            waiting = [each for each in self._pending.get(job_id, ()) if not each.replied.done()]
        for pending in waiting:
            if reply is None:
                pending.replied.set_exception(JobLost())
            else:
                pending.replied.set_result(reply)

    def _look_up(self, min_age: float) -> None:
        """Look up unanswered jobs in Redis, because their replies may be lost.

        A job is looked up if more than `min_age` seconds have passed since it was queued.
        """
        latest = time.monotonic() - min_age
        with self._lock:
            groups = self._pending.items()
            old = [job_id for job_id, group in groups if any(each.queued_at < latest for each in group)]
        states = self._jobs.states(old) if old else {}
        for job_id in old:
            if job_id not in states:
                self._deliver(job_id, None)
            elif reply := states[job_id].reply:
                self._deliver(job_id, reply)
