"""Waiting for answers: one listener a process, on one list in Redis, wakes every request that waits."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from shared.queue.gateway_client import GatewayQueue
from shared.queue.messages import Reply

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How long a request waits before its job is looked up, in case the reply was lost; and how often then."""


class Waiter:
    """What one request waits for: the first reply for any of its jobs."""

    def __init__(self, job_ids: Iterable[str]) -> None:
        self.job_ids = frozenset(job_ids)
        self.replies: dict[str, Reply] = {}
        self.lost: set[str] = set()
        """Jobs that Redis does not know any more: it lost its data."""
        self.refusal: Exception | None = None
        """Why the job could not be queued."""
        self.cache = ""
        self.since = float("inf")
        self._done = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Return whether a reply came, or the news that there will be none, in time."""
        return self._done.wait(seconds)

    def queued(self, cache: str = "") -> None:
        """From now on the jobs are known to Redis; `cache` is what the cache did."""
        self.cache, self.since = cache, time.monotonic()
        if self.replies:
            self._done.set()

    def refuse(self, error: Exception) -> None:
        """Wake the request with the reason why its job was not queued."""
        self.refusal = error
        self._done.set()

    def deliver(self, reply: Reply) -> None:
        """Wake the request with a reply, which may be here before the news that the job was queued."""
        self.replies[reply.job_id] = reply
        if self.since < float("inf"):
            self._done.set()

    def lose(self, job_id: str) -> None:
        """Wake the request with the news that a job is lost."""
        self.lost.add(job_id)
        self._done.set()


class ReplyListener:
    """Hands replies to the requests that wait for them.

    `reply_to` names the list that the worker pushes to; it is this process's own. The thread starts with the
    first request, so after gunicorn's fork; under gevent it is a greenlet.
    """

    def __init__(self, queue: GatewayQueue, reply_to: str) -> None:
        self.reply_to = reply_to
        self._queue = queue
        self._waiters: defaultdict[str, set[Waiter]] = defaultdict(set)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def expect(self, *job_ids: str) -> Iterator[Waiter]:
        """Expect replies for jobs; entered before they are queued, so that none can come too early."""
        waiter = Waiter(job_ids)
        with self._lock:
            for job_id in waiter.job_ids:
                self._waiters[job_id].add(waiter)
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="replies", daemon=True)
                self._thread.start()
        try:
            yield waiter
        finally:
            with self._lock:
                for job_id in waiter.job_ids:
                    self._waiters[job_id].discard(waiter)
                    if not self._waiters[job_id]:
                        del self._waiters[job_id]

    def _listen(self) -> None:
        look_at, age = time.monotonic() + LOOK_SECONDS, LOOK_SECONDS
        while True:
            try:
                for reply in self._queue.replies(self.reply_to):
                    self._deliver(reply)
                if time.monotonic() >= look_at:
                    self._look_up(age)
                    look_at, age = time.monotonic() + LOOK_SECONDS, LOOK_SECONDS
            except RedisError as error:
                logger.warning("waiting for replies: %s", error)
                look_at, age = 0.0, 0.0  # replies may have been lost with the connection, also young ones
                time.sleep(0.5)
            except Exception:
                logger.exception("a reply could not be read")
                time.sleep(0.5)

    def _waiting_for(self, job_id: str) -> list[Waiter]:
        with self._lock:
            return list(self._waiters.get(job_id, ()))

    def _deliver(self, reply: Reply) -> None:
        for waiter in self._waiting_for(reply.job_id):
            waiter.deliver(reply)

    def _look_up(self, age: float) -> None:
        """Ask for the jobs that have waited `age` seconds: nobody is stranded by a reply that got lost."""
        before = time.monotonic() - age
        with self._lock:
            old = [job_id for job_id, each in self._waiters.items() if any(w.since < before for w in each)]
        found = self._queue.states(old) if old else {}
        for job_id in old:
            state = found.get(job_id)
            if state is None:
                for waiter in self._waiting_for(job_id):
                    if waiter.since < before:
                        waiter.lose(job_id)
            elif state.reply is not None:
                self._deliver(state.reply)
