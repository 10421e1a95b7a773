"""The gateway's client for the queue: submits jobs, receives replies, looks up jobs and cancels jobs."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from redis import Redis

from shared.job import JobFailure
from shared.queue import BULK, INTERACTIVE, QUEUES, wire
from shared.queue.fleet import Fleet
from shared.queue.lua_script import END_JOB, RECORDS, Script
from shared.queue.messages import JobState, KeyReused, NewJob, QueueFull, Repeatable, Reply, Submitted
from shared.queue.redis_reads import read_all
from shared.queue.script_constants import IMAGE_TTL, METRICS_KEY
from shared.redis_connection import BLOCK_SECONDS
from shared.settings import Settings
from shared.worker_counts import Count, QueueMetrics

REFUSALS = ("jobs", "bytes", "image")
"""The reasons why `lua/submit.lua` refuses a job.

- 'jobs': too many jobs wait in the queue.
- 'bytes': the images of all jobs are too large in total.
- 'image': the job's image could not be stored."""

REPEATABLE_SECONDS = 86_400
"""Maximum time for which a caller can repeat a submission with its idempotency key, in seconds."""

RATE_SECONDS = 1.0
"""Number of seconds for which a gateway process caches the total speed of the workers."""

DEFAULT_RETRY_AFTER, MAX_RETRY_AFTER = 10, 600
"""Number of seconds after which a refused caller may retry: the default and the maximum.

The default is used if no worker is alive."""

_SUBMIT, _CANCEL, _WATCH = Script(*END_JOB, "submit"), Script(*END_JOB, "cancel"), Script(*RECORDS, "watch")


class GatewayQueue:
    """The gateway's client for the queue. Every method may raise `redis.exceptions.RedisError`."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self._redis, self._settings = redis, settings
        self.fleet = Fleet(redis, settings.job_lease)
        self._rate: tuple[float, float] = (0.0, 0.0)
        self._common_fields = wire.common_fields(settings)

    def submit(
        self,
        jobs: Sequence[NewJob],
        queue: str = INTERACTIVE,
        *,
        timeout: float | None = None,
        repeatable: Repeatable | None = None,
    ) -> Submitted:
        """Queue several jobs in one step. If one of the jobs is refused, no job is queued.

        A job expires if no worker begins it within `timeout` seconds.

        Raises:
            QueueFull: one job was refused for a reason in `REFUSALS`, so no job was queued.
            KeyReused: another submission had the same idempotency key, so no job was queued.
        """
        repeat = ("", "")
        if repeatable is not None:
            repeat = (f"classification:idempotency:{jobs[0].owner}:{repeatable.key}", repeatable.body)
        outcome, waiting, found = self._submit([(job, timeout) for job in jobs], queue, "all", repeat)
        if outcome == "accepted":
            return Submitted([job.id for job in jobs], found)
        if outcome == "replayed":
            return Submitted(found, [""] * len(found), replayed=True)
        if outcome == "conflict":
            raise KeyReused
        raise self._full(outcome, queue, waiting)

    def submit_each(self, jobs: Sequence[tuple[NewJob, float | None]]) -> list[str | QueueFull]:
        """Queue interactive jobs in one step. Each job has its own timeout.

        Each job is accepted or refused separately.

        Returns one entry for each job. For an accepted job, the entry is a value of `Submitted.cache`. For a
        refused job, the entry is an error.
        """
        _, waiting, outcomes = self._submit(jobs, INTERACTIVE, "each", ("", ""))
        return [self._full(each, INTERACTIVE, waiting) if each in REFUSALS else each for each in outcomes]

    def _submit(
        self, jobs: Sequence[tuple[NewJob, float | None]], queue: str, mode: str, repeat: tuple[str, str]
    ) -> tuple[str, int, list[str]]:
        settings, common = self._settings, self._common_fields
        max_jobs = settings.queue_size if queue == INTERACTIVE else settings.bulk_queue_size
        args: list[Any] = [queue, max_jobs, settings.max_queue_bytes, mode, *repeat, REPEATABLE_SECONDS]
        args += [settings.result_ttl, wire.rq_time(), len(common), *common]
        pipe = self._redis.pipeline(transaction=False)
        for job, timeout in jobs:
            is_small = len(job.image) <= wire.MAX_SMALL_IMAGE
            if not is_small:  # passing a large image to a script takes three times as long
                pipe.set(f"image:{job.id}", job.image, ex=IMAGE_TTL)
            fields = wire.job_fields(job)
            args += [job.id, job.image if is_small else b"", len(job.image)]
            args += ["" if timeout is None else timeout, job.digest, len(fields), *fields]
        outcome, waiting, found = _SUBMIT.last_in(pipe, self._redis, (), args)
        return outcome.decode(), waiting, [each.decode() for each in found]

    def _full(self, refusal: str, queue: str, waiting: int) -> QueueFull:
        reasons = {  # one text for each reason in REFUSALS
            "jobs": f"the {queue} queue is full: {waiting} jobs wait",
            "bytes": f"all jobs' images together reach the maximum of {self._settings.max_queue_bytes} bytes",
            "image": "the image could not be stored in Redis",
        }
        rate, seconds = self._jobs_per_second(), DEFAULT_RETRY_AFTER
        if rate > 0:
            seconds = min(math.ceil(max(waiting, 1) / rate), MAX_RETRY_AFTER)
        return QueueFull(f"{reasons[refusal]}. Send the request again in {seconds} s.", seconds)

    def _jobs_per_second(self) -> float:
        """Return the workers' total speed in jobs per second, or 0 if no worker is alive."""
        read_at, rate = self._rate
        if time.monotonic() - read_at > RATE_SECONDS:
            served = self.fleet.served()
            rate = served.jobs_per_second if served else 0.0
            self._rate = (time.monotonic(), rate)
        return rate

    def replies(self, reply_to: str) -> list[Reply]:
        """Wait for replies to this gateway process, and return these replies.

        If no reply arrives within `BLOCK_SECONDS`, the method returns an empty list.
        """
        found = self._redis.blpop([reply_to], timeout=BLOCK_SECONDS)
        return [wire.read_reply(each) for each in json.loads(found[1])] if found else []

    def watch(self, job_ids: Sequence[str], reply_to: str, owner: str = "") -> set[str]:
        """Request a reply for each job in `job_ids`.

        When a job ends, its reply goes to the Redis list `reply_to`.

        Returns the ids of the jobs that are unknown or have already ended. No reply will come for unknown or
        ended jobs.
        """
        return {job_id.decode() for job_id in _WATCH(self._redis, (), (reply_to, owner, *job_ids))}

    def states(
        self, job_ids: Sequence[str], owner: str | None = None, *, positions: bool = False
    ) -> dict[str, JobState]:
        """Return a dictionary from job ids to job states.

        The dictionary contains the known jobs that belong to `owner`. If `owner` is None, the dictionary
        contains all known jobs.

        If `positions` is True, the states contain the positions of the waiting jobs. To find the positions,
        Redis searches the queue once for each waiting job. A search of a longer queue takes more time.
        """
        pipe = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hmget(f"rq:job:{job_id}", *wire.STATE_FIELDS)
            pipe.xrevrange(f"rq:results:{job_id}", count=1)
        answers = read_all(pipe)
        found = {}
        for job_id, values, entries in zip(job_ids, answers[::2], answers[1::2], strict=True):
            if values and _is_visible(values, owner):
                found[job_id] = wire.read_state(job_id, values, entries)
        if positions:
            found |= {each.id: self._placed(each) for each in found.values() if each.status == "queued"}
        return found

    def _placed(self, state: JobState) -> JobState:
        """Return a copy of a queued job's state, with the job's position in the queue and estimated wait."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.lpos(f"rq:queue:{state.queue}", state.id)
        pipe.llen(f"rq:queue:{INTERACTIVE}")
        index, interactive = pipe.execute()
        if index is None:  # a worker has just claimed the job, or the job waits for an equal job's answer
            return state
        ahead = index + (interactive if state.queue == BULK else 0)
        rate = self._jobs_per_second()
        return replace(state, position=index + 1, estimated_wait=round(ahead / rate, 1) if rate else None)

    def cancel(self, job_id: str, owner: str = "") -> str:
        """Cancel a waiting job.

        Returns the job's status after the call. The status is 'canceled' on success. If the job is unknown,
        the method returns ''.
        """
        failure = json.dumps(
            JobFailure("canceled", "the job was canceled before a worker began it").to_json()
        )
        args = (job_id, owner, self._settings.result_ttl, wire.rq_time(), failure)
        return str(_CANCEL(self._redis, (), args).decode())

    def suspended(self) -> bool:
        """Return True if an operator has suspended all workers with the command `rq suspend`."""
        return bool(self._redis.exists("rq:suspended"))

    def metrics(self) -> QueueMetrics:
        """Return the current state of the queues, and the current values of all counts in Redis."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        pipe.get("classification:bytes")
        pipe.hgetall(METRICS_KEY)
        for queue in QUEUES:
            pipe.llen(f"rq:queue:{queue}")
            pipe.zcard(f"rq:wip:{queue}")
            # The command SORT is not used to sort: it reads the field `submitted` of the queue's first job.
            pipe.sort(f"rq:queue:{queue}", start=0, num=1, by="nosort", get=["rq:job:*->submitted"])
        (seconds, micros), held, counts, *rest = pipe.execute()
        now = seconds + micros / 1e6
        return QueueMetrics(
            waiting=dict(zip(QUEUES, rest[::3], strict=True)),
            running=dict(zip(QUEUES, rest[1::3], strict=True)),
            oldest_wait={
                queue: max(now - wire.read_number(first[0], now), 0.0) if first else 0.0
                for queue, first in zip(QUEUES, rest[2::3], strict=True)
            },
            image_bytes=int(held or 0),
            counts={Count.parse(name.decode()): float(amount) for name, amount in counts.items()},
        )


def _is_visible(values: Sequence[bytes | None], owner: str | None) -> bool:
    record = dict(zip(wire.STATE_FIELDS, values, strict=True))
    return record["status"] is not None and owner in (None, (record["owner"] or b"").decode())


def reply_list(process: str) -> str:
    """Return the Redis key of a gateway process's reply list."""
    return f"classification:reply:{process}"
