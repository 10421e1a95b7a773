"""Submits jobs, and lets HTTP requests wait for the jobs' replies.

All requests of a gateway process share one event loop. The event loop never waits for Redis: a thread submits
the jobs of simultaneous requests with one Redis command, and another thread reads the workers' replies.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from redis.exceptions import RedisError

from shared.queue.gateway_client import GatewayQueue
from shared.queue.messages import NewJob, Reply

logger = logging.getLogger(__name__)

MAX_JOBS_PER_COMMAND = 64
"""Maximum number of jobs that one Redis command submits."""

EAGER_JOBS = 8
"""Minimum number of unsent jobs that are sent while another command runs. Workers begin these jobs earlier.
Fewer unsent jobs wait for the running command, and share the next command."""

MAX_COMMANDS = 4
"""Maximum number of commands that run at the same time, besides the command that reads replies."""

LOOKUP_SECONDS = 5.0
"""Number of seconds after which an unanswered job is looked up in Redis. The reply to an unanswered job may
have been lost."""


class TimedOut(Exception):
    """A job has no reply yet, but its request may not wait longer."""


class JobLost(Exception):
    """Redis lost a job together with other data."""


class PendingJob:
    """One request's wait for one job.

    `queued` receives the job's cache outcome, which is a value of `Submitted.cache`. `replied` receives the
    reply, or None if Redis lost the job.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.queued: asyncio.Future[str] = loop.create_future()
        self.replied: asyncio.Future[Reply | None] = loop.create_future()
        self.queued_at = float("inf")

    def mark_queued(self, outcome: str | Exception) -> None:
        """Record the job's cache outcome, or the reason why the job was not queued."""
        if self.queued.done():  # the request no longer waits
            return
        if isinstance(outcome, Exception):
            self.queued.set_exception(outcome)
        else:
            self.queued_at = time.monotonic()
            self.queued.set_result(outcome)


Submission = tuple[NewJob, float | None, PendingJob]


class InFlight:
    """Runs jobs for HTTP requests. `reply_to` names this process's own Redis list for replies."""

    def __init__(self, jobs: GatewayQueue, reply_to: str) -> None:
        self.reply_to = reply_to
        self._jobs = jobs
        self._unsent: list[Submission] = []
        self._commands = 0
        self._pending: defaultdict[str, set[PendingJob]] = defaultdict(set)
        # The threads start at their first command, after gunicorn has forked its processes.
        self._threads = ThreadPoolExecutor(MAX_COMMANDS + 1, thread_name_prefix="redis")
        self._listener: asyncio.Task[None] | None = None

    async def run(self, job: NewJob, timeout: float, *, expires: bool = True) -> Reply:
        """Submit an interactive job, and wait at most `timeout` seconds for its reply.

        If `expires` is true, no worker begins the job after `timeout` seconds. Otherwise the method returns
        or fails only after the job is queued.

        Raises:
            QueueFull: the queue refused the job.
            RedisError: the job could not be queued.
            JobLost: Redis lost the job.
            TimedOut: there is no reply after `timeout` seconds.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        with self._expect([job.id]) as (pending,):
            self._unsent.append((job, timeout if expires else None, pending))
            loop.call_soon(self._send)  # jobs that arrive in the same turn of the loop share a command
            try:
                async with asyncio.timeout_at(end if expires else None) as limit:
                    cache_outcome = await pending.queued
                    if loop.time() >= end:
                        raise TimedOut
                    limit.reschedule(end)
                    reply = await pending.replied
            except TimeoutError:
                raise TimedOut from None
        if reply is None:
            raise JobLost
        return replace(reply, cache=cache_outcome)

    async def wait_for_any(self, job_ids: Iterable[str], timeout: float, owner: str = "") -> None:
        """Wait until one of these jobs ends, but at most `timeout` seconds.

        If a job is unknown, has already ended or belongs to another caller than `owner`, return immediately.
        """
        end = time.monotonic() + timeout
        with self._expect(job_ids) as pending:
            if not await self._in_thread(self._jobs.watch, [*job_ids], self.reply_to, owner):
                for each in pending:
                    each.mark_queued("")
                seconds_left, replies = max(end - time.monotonic(), 0), [each.replied for each in pending]
                await asyncio.wait(replies, timeout=seconds_left, return_when=asyncio.FIRST_COMPLETED)

    @contextmanager
    def _expect(self, job_ids: Iterable[str]) -> Iterator[list[PendingJob]]:
        """Collect replies to these jobs while the context is open. Open the context before queueing."""
        expected = {job_id: PendingJob() for job_id in job_ids}
        for job_id, pending in expected.items():
            self._pending[job_id].add(pending)
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._listen())
        try:
            yield [*expected.values()]
        finally:
            for job_id, pending in expected.items():
                self._pending[job_id].discard(pending)
                if not self._pending[job_id]:
                    del self._pending[job_id]

    def _in_thread(self, call: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self._threads, call, *args)

    def _send(self) -> None:
        """Submit the unsent jobs, unless a command runs that they can wait for."""
        can_wait = len(self._unsent) < EAGER_JOBS or self._commands >= MAX_COMMANDS
        if not self._unsent or (self._commands and can_wait):
            return
        sent, self._unsent = self._unsent[:MAX_JOBS_PER_COMMAND], self._unsent[MAX_JOBS_PER_COMMAND:]
        self._commands += 1
        command = self._in_thread(self._jobs.submit_each, [(job, timeout) for job, timeout, _ in sent])
        command.add_done_callback(lambda done: self._finish(sent, done))

    def _finish(self, sent: list[Submission], command: asyncio.Future[list[str | Exception]]) -> None:
        self._commands -= 1
        error = command.exception()
        outcomes = command.result() if error is None else [error] * len(sent)
        for (*_, pending), outcome in zip(sent, outcomes, strict=True):
            pending.mark_queued(outcome)  # type: ignore[arg-type]
        self._send()

    async def _listen(self) -> None:
        lookup_at, min_age = time.monotonic() + LOOKUP_SECONDS, LOOKUP_SECONDS
        while True:
            try:
                for reply in await self._in_thread(self._jobs.replies, self.reply_to):
                    self._deliver(reply.job_id, reply)
                if time.monotonic() >= lookup_at:
                    await self._look_up(min_age)
                    lookup_at, min_age = time.monotonic() + LOOKUP_SECONDS, LOOKUP_SECONDS
            except RedisError as error:
                logger.warning("replies not read from Redis: %s", error)
                lookup_at, min_age = 0.0, 0.0  # look up new jobs too, because their replies may be lost
                await asyncio.sleep(0.5)
            except Exception:
                logger.exception("malformed reply skipped")
                await asyncio.sleep(0.5)

    def _deliver(self, job_id: str, reply: Reply | None) -> None:
        """Wake all requests that wait for a job. If there is no reply, Redis has lost the job."""
        for pending in self._pending.get(job_id, ()):
            if not pending.replied.done():
                pending.replied.set_result(reply)

    async def _look_up(self, min_age: float) -> None:
        """Look up unanswered jobs in Redis, because their replies may be lost.

        A job is looked up if more than `min_age` seconds have passed since it was queued.
        """
        latest = time.monotonic() - min_age
        groups = self._pending.items()
        old = [job_id for job_id, group in groups if any(each.queued_at < latest for each in group)]
        states = await self._in_thread(self._jobs.states, old) if old else {}
        for job_id in old:
            if job_id not in states:
                self._deliver(job_id, None)
            elif reply := states[job_id].reply:
                self._deliver(job_id, reply)
