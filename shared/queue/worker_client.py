"""The worker's side of the queue: claim, renew, settle, give back, reap."""

import json
from collections.abc import Iterable, Mapping, Sequence
from uuid import uuid4

from redis import Redis

from shared.job import JobFailure
from shared.queue import BULK, INTERACTIVE, QUEUES
from shared.queue.fleet import Fleet
from shared.queue.lua_script import ENDING, Script
from shared.queue.messages import Claim, Claims, Settlement
from shared.queue.redis_reads import read_all
from shared.queue.wire import METRICS_KEY, SMALL_IMAGE, exc_string, read_claim, rq_time, settle_words
from shared.redis_connection import BLOCK_SECONDS
from shared.settings import Settings

WAKE_KEY = "classification:wake"

_EXHAUSTED = JobFailure(
    "attempts-exhausted",
    "every worker that began this job died of it; it was given up after the last attempt",
)

_CLAIM, _RENEW, _GIVE_BACK = (Script("fields", each) for each in ("claim", "renew", "give_back"))
_SETTLE, _REAP, _COUNT = Script(*ENDING, "settle"), Script(*ENDING, "reap"), Script("count")


class WorkerQueue:
    """The worker's client. Every method may raise `redis.exceptions.RedisError`."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self._redis, self._settings = redis, settings
        self.fleet = Fleet(redis, settings.job_lease)

    def claim(self, worker: str, room: Mapping[str, int], *, idle: bool) -> Claims:
        """Take what fits into `room` (inputs for each queue), under a lease; of one queue at a time.

        `idle` says that the worker holds nothing: only then does it get jobs that others died of,
        and no others with them.
        """
        limits = (
            self._settings.job_lease,
            self._settings.input_batch,
            room[INTERACTIVE],
            room[BULK],
            int(idle),
        )
        args = (worker, uuid4().hex, *limits, self._settings.job_max_attempts - 1, rq_time(), SMALL_IMAGE)
        why, queue, rows = _CLAIM(self._redis, (), args)
        return Claims([read_claim(queue.decode(), row) for row in rows], why == b"suspects", why.decode())

    def wait_for_work(self, seconds: float) -> None:
        """Return when a job was queued, or after `seconds` (at most `BLOCK_SECONDS`)."""
        self._redis.blpop([WAKE_KEY], timeout=min(seconds, BLOCK_SECONDS))

    def images(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """The claimed jobs' images; None for one that Redis no longer has."""
        apart = [claim for claim in claims if claim.image is None]
        if not apart:
            return [claim.image for claim in claims]
        pipe = self._redis.pipeline(transaction=False)
        for claim in apart:
            pipe.get(f"image:{claim.job_id}")
        fetched = iter(read_all(pipe))
        return [next(fetched) if claim.image is None else claim.image for claim in claims]

    def renew(self, worker: str, claims: Iterable[Claim]) -> set[str]:
        """Renew the leases of what `worker` holds; return the executions that went to another."""
        args = [each for c in claims for each in (c.queue, c.job_id, c.execution)]
        lost = _RENEW(self._redis, (), (self._settings.job_lease, worker, *args)) if args else []
        return {execution.decode() for execution in lost}

    def settle(self, worker: str, endings: Sequence[Settlement], model: str = "") -> list[bool]:
        """Write how jobs ended, free their leases and wake their callers, each in one step.

        `model` is the id of what the worker serves: for equal jobs that ask for that one, answers are kept.
        Returns False for each job whose lease had gone to another attempt; nothing is written for it.
        """
        settings = self._settings
        args = [worker, rq_time(), settings.result_ttl, settings.result_cache_ttl, model]
        for ending in endings:
            args += settle_words(*ending)
        return [answer == 1 for answer in _SETTLE(self._redis, (), args)]

    def give_back(self, worker: str, claims: Sequence[Claim]) -> None:
        """Put claimed jobs that were not begun back at the front of their queues."""
        args = [each for c in claims for each in (c.queue, c.job_id, c.execution)]
        if args:
            _GIVE_BACK(self._redis, (), (worker, *args))

    def reap(self, most: int = 500) -> list[tuple[str, str]]:
        """Requeue ('again') or fail ('failed') the jobs whose lease is over; return ids and words."""
        failure = json.dumps(_EXHAUSTED.to_json())
        args = (most, self._settings.result_ttl, failure, exc_string(_EXHAUSTED), rq_time())
        return [(job_id.decode(), word.decode()) for job_id, word in _REAP(self._redis, QUEUES, args)]

    def count(self, worker: str, number: int, amounts: Mapping[str, float]) -> None:
        """Add what `worker` counted to the figures of all; the same number is not counted twice."""
        args = [each for pair in amounts.items() for each in pair]
        _COUNT(self._redis, (METRICS_KEY, f"classification:counted:{worker}"), (number, *args))
