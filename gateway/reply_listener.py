"""Delivers workers' replies to waiting HTTP requests.

One thread of each gateway process reads the replies from Redis.
"""

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

LOOKUP_SECONDS = 5.0
"""Number of seconds after which an unanswered job is looked up in Redis. The reply to an unanswered job may
have been lost."""


class PendingReply:
    """Lets one HTTP request wait for the first reply to any of the request's jobs."""

    def __init__(self, job_ids: Iterable[str]) -> None:
        self.job_ids = frozenset(job_ids)
        self.replies: dict[str, Reply] = {}
        self.lost: set[str] = set()
        """Ids of the jobs that are missing in Redis because Redis lost data."""
        self.error: Exception | None = None
        """The reason why the request's job was not queued, or None."""
        self.cache_outcome = ""
        self.queued_at = float("inf")
        self._done = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Wait for a reply, an error or a lost job, and return whether one of these has arrived.

        The wait takes at most `seconds` seconds.
        """
        return self._done.wait(seconds)

    def mark_queued(self, cache_outcome: str = "") -> None:
        """Record that the jobs are queued.

        `cache_outcome` is the value 'hit', 'collapsed' or 'stored'. If the result cache was not used,
        `cache_outcome` is empty.
        """
        self.cache_outcome, self.queued_at = cache_outcome, time.monotonic()
        if self.replies:
            self._done.set()

    def fail(self, error: Exception) -> None:
        """Wake the waiting request with the reason why its job was not queued."""
        self.error = error
        self._done.set()

    def deliver(self, reply: Reply) -> None:
        """Store a reply. If the request's jobs are already queued, also wake the waiting request."""
        self.replies[reply.job_id] = reply
        if self.queued_at < float("inf"):
            self._done.set()

    def mark_lost(self, job_id: str) -> None:
        """Wake the waiting request because Redis lost one of its jobs."""
        self.lost.add(job_id)
        self._done.set()


class ReplyListener:
    """Delivers workers' replies to the HTTP requests that wait for these replies.

    `reply_to` names this process's own Redis list, to which the workers push replies. The listening thread
    starts at the first request that waits for a job, after gunicorn has forked its processes. Under gevent,
    the listening thread is a greenlet.
    """

    def __init__(self, queue: GatewayQueue, reply_to: str) -> None:
        self.reply_to = reply_to
        self._queue = queue
        self._pending: defaultdict[str, set[PendingReply]] = defaultdict(set)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def expect(self, *job_ids: str) -> Iterator[PendingReply]:
        """Collect replies to these jobs while the context is open.

        Open the context before queueing the jobs.
        """
        pending = PendingReply(job_ids)
        with self._lock:
            for job_id in pending.job_ids:
                self._pending[job_id].add(pending)
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="replies", daemon=True)
                self._thread.start()
        try:
            yield pending
        finally:
            with self._lock:
                for job_id in pending.job_ids:
                    self._pending[job_id].discard(pending)
                    if not self._pending[job_id]:
                        del self._pending[job_id]

    def _listen(self) -> None:
        lookup_at, min_age = time.monotonic() + LOOKUP_SECONDS, LOOKUP_SECONDS
        while True:
            try:
                for reply in self._queue.replies(self.reply_to):
                    self._deliver(reply)
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

    def _deliver(self, reply: Reply) -> None:
        with self._lock:
            waiting = list(self._pending.get(reply.job_id, ()))
        for pending in waiting:
            pending.deliver(reply)

    def _look_up(self, min_age: float) -> None:
        """Look up unanswered jobs in Redis, because their replies may be lost.

        A job is looked up if more than `min_age` seconds have passed since it was queued.
        """
        latest = time.monotonic() - min_age
        with self._lock:
            groups = self._pending.items()
            old = [(job_id, each) for job_id, group in groups for each in group if each.queued_at < latest]
        if not old:
            return
        states = self._queue.states(list(dict(old)))
        for job_id, pending in old:
            state = states.get(job_id)
            if state is None:
                pending.mark_lost(job_id)
            elif state.reply is not None:
                self._deliver(state.reply)
