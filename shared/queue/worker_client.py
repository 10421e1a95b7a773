"""The worker's client for the queue.

With this client, a worker claims jobs, renews the leases of jobs, and writes the results of jobs. A worker
can also return jobs to the queue, and it handles the jobs of dead workers.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any
from uuid import uuid4

from redis import Redis

from shared.job import JobFailure
from shared.queue import BULK, INTERACTIVE, QUEUES
from shared.queue.fleet import Fleet
from shared.queue.lua_script import END_JOB, RECORDS, Script
from shared.queue.messages import Claim, ClaimOutcome, Claims, Settlement
from shared.queue.redis_reads import read_all
from shared.queue.script_constants import METRICS_KEY, WAKE_KEY
from shared.queue.wire import MAX_SMALL_IMAGE, exc_string, read_claim, rq_time, settle_args
from shared.redis_connection import BLOCK_SECONDS
from shared.settings import Settings

MAX_REAPED = 500
"""Maximum number of jobs with an ended lease that one call of `reap` handles in each queue."""

_EXHAUSTED = JobFailure("attempts-exhausted", "every worker that began this job died, and no attempt is left")

_CLAIM, _RENEW, _GIVE_BACK = (Script(*RECORDS, each) for each in ("claim", "renew", "give_back"))
_SETTLE, _REAP, _COUNT = Script(*END_JOB, "settle"), Script(*END_JOB, "reap"), Script("count")


class WorkerQueue:
    """The worker's client for the queue. Every method may raise `redis.exceptions.RedisError`."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self._redis, self._settings = redis, settings
        self.fleet = Fleet(redis, settings.job_lease)

    def claim(
        self, worker: str, room: Mapping[str, int], *, idle: bool, full_batch: int | None = None
    ) -> Claims:
        """Claim jobs of one queue under a lease.

        `room` is the maximum number of inputs that the worker accepts from each queue. `full_batch` is the
        number of inputs in a full batch, by default `INPUT_BATCH`. A job with more inputs than a full batch
        is claimed only if there is room for a full batch.

        `idle` is True if the worker has no jobs. A retried job is a job whose previous worker died. Only an
        idle worker receives retried jobs. One call returns either retried jobs or other jobs.
        """
        settings = self._settings
        args: list[Any] = [worker, uuid4().hex, settings.job_lease, full_batch or settings.input_batch]
        args += [room[INTERACTIVE], room[BULK], int(idle)]
        args += [settings.job_max_attempts - 1, rq_time(), MAX_SMALL_IMAGE]
        outcome, queue, rows = _CLAIM(self._redis, (), args)
        return Claims([read_claim(queue.decode(), row) for row in rows], ClaimOutcome(outcome.decode()))

    def wait_for_work(self, seconds: float) -> None:
        """Wait for a job.

        If no job arrives, the wait ends after `seconds`, but after at most `BLOCK_SECONDS`.
        """
        self._redis.blpop([WAKE_KEY], timeout=min(seconds, BLOCK_SECONDS))

    def images(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """Return the images of the claimed jobs.

        If Redis has lost an image, the list has None in its place.
        """
        missing = [claim for claim in claims if claim.image is None]
        if not missing:
            return [claim.image for claim in claims]
        pipe = self._redis.pipeline(transaction=False)
        for claim in missing:
            pipe.get(f"image:{claim.job_id}")
        fetched = iter(read_all(pipe))
        return [next(fetched) if claim.image is None else claim.image for claim in claims]

    def renew(self, worker: str, claims: Iterable[Claim]) -> set[str]:
        """Renew the leases of a worker's jobs.

        Returns the execution ids of the jobs whose lease the worker has lost.
        """
        args = _leased(claims)
        lost = _RENEW(self._redis, (), (self._settings.job_lease, worker, *args)) if args else []
        return {execution.decode() for execution in lost}

    def settle(self, worker: str, endings: Sequence[Settlement], model: str = "") -> list[bool]:
        """Write the results of ended jobs, end the jobs' leases and send the replies, in one step.

        `model` is the id of the worker's model. An answer is cached only if the gateway expected this model
        when it accepted the job.

        Returns True for each job whose result was written. If the worker has lost a job's lease, the result
        is not written, and the job's entry is False.
        """
        settings = self._settings
        args: list[Any] = [worker, rq_time(), settings.result_ttl, settings.result_cache_ttl, model]
        args += chain.from_iterable(map(settle_args, endings))
        return [settled == 1 for settled in _SETTLE(self._redis, (), args)]

    def give_back(self, worker: str, claims: Sequence[Claim], *, begun: bool = False) -> None:
        """Return claimed jobs to the front of their queues.

        No job loses a retry. If the worker has begun the jobs, `begun` is True and the attempt is counted.
        """
        args = _leased(claims)
        if args:
            _GIVE_BACK(self._redis, (), (worker, int(begun), *args))

    def reap(self) -> list[tuple[str, str]]:
        """Return each job whose lease has ended to its queue.

        If a job has no attempt left, the job fails instead.

        Returns the id of each job whose lease has ended, with the text 'requeued' or 'failed'.
        """
        failure = json.dumps(_EXHAUSTED.to_json())
        args = (MAX_REAPED, self._settings.result_ttl, failure, exc_string(_EXHAUSTED), rq_time())
        return [(job_id.decode(), outcome.decode()) for job_id, outcome in _REAP(self._redis, QUEUES, args)]

    def count(self, worker: str, number: int, amounts: Mapping[str, float]) -> None:
        """Add a worker's counts to the metrics.

        `number` identifies the counts of this call. If the worker has already sent counts with the same
        number, the method adds nothing.
        """
        args = (number, *chain.from_iterable(amounts.items()))
        _COUNT(self._redis, (METRICS_KEY, f"classification:counted:{worker}"), args)


def _leased(claims: Iterable[Claim]) -> list[str]:
    """Return a list of arguments for a Lua script.

    The list has the queue, the job id and the execution of each claim.
    """
    return [each for claim in claims for each in (claim.queue, claim.job_id, claim.execution)]
