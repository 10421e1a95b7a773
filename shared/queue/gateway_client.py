"""The gateway's side of the queue: submit, wait, look up, cancel."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from redis import Redis

from shared.job import JobFailure
from shared.metric_names import Count, QueueMetrics
from shared.queue import BULK, INTERACTIVE, QUEUES
from shared.queue.fleet import Fleet
from shared.queue.lua_script import ENDING, Script
from shared.queue.messages import JobState, KeyReused, NewJob, QueueFull, Repeatable, Reply, Submitted
from shared.queue.redis_reads import read_all
from shared.queue.wire import (
    METRICS_KEY,
    SMALL_IMAGE,
    STATE_FIELDS,
    job_words,
    read_number,
    read_reply,
    read_state,
    rq_time,
    shared_words,
)
from shared.redis_connection import BLOCK_SECONDS
from shared.settings import Settings

IMAGE_TTL = 86_400
"""Seconds that an image may wait for a worker."""

REFUSALS = ("jobs", "bytes", "image")
"""Why `lua/submit.lua` takes no job."""

REPEATABLE_SECONDS = 86_400
"""How long a submission can be repeated under its key."""

_SUBMIT, _CANCEL, _WATCH = Script(*ENDING, "submit"), Script(*ENDING, "cancel"), Script("fields", "watch")


class GatewayQueue:
    """The gateway's client. Every method may raise `redis.exceptions.RedisError`."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self._redis, self._settings = redis, settings
        self.fleet = Fleet(redis, settings.job_lease)
        self._rate: tuple[float, float] = (0.0, 0.0)
        self._record = shared_words(settings)

    def submit(
        self,
        jobs: Sequence[NewJob],
        lane: str = INTERACTIVE,
        *,
        timeout: float | None = None,
        repeatable: Repeatable | None = None,
    ) -> Submitted:
        """Queue jobs, all or none; after `timeout` seconds nobody needs the answers any more.

        Raises:
            QueueFull: the bound of waiting jobs or of images' bytes is reached; nothing was queued.
            KeyReused: the repeatable submission's key was used for another body; nothing was queued.
        """
        repeat = ("", "")
        if repeatable is not None:
            repeat = (f"classification:idempotency:{jobs[0].owner}:{repeatable.key}", repeatable.body)
        outcome, waiting, told = self._submit([(job, timeout) for job in jobs], lane, "all", repeat)
        if outcome == "accepted":
            return Submitted([job.id for job in jobs], told)
        if outcome == "replayed":
            return Submitted(told, [""] * len(told), replayed=True)
        if outcome == "conflict":
            raise KeyReused
        raise self._full(outcome, lane, waiting)

    def submit_each(self, jobs: Sequence[tuple[NewJob, float | None]]) -> list[str | QueueFull]:
        """Queue interactive jobs, with their timeouts, each by itself but all in one trip.

        Returns for each what the cache did, as in `Submitted`, or why it was refused.
        """
        _, waiting, told = self._submit(jobs, INTERACTIVE, "each", ("", ""))
        return [self._full(each, INTERACTIVE, waiting) if each in REFUSALS else each for each in told]

    def _submit(
        self, jobs: Sequence[tuple[NewJob, float | None]], lane: str, mode: str, repeat: tuple[str, str]
    ) -> tuple[str, int, list[str]]:
        settings = self._settings
        bound = settings.queue_size if lane == INTERACTIVE else settings.bulk_queue_size
        args: list[Any] = [lane, bound, settings.max_queue_bytes, mode, *repeat, REPEATABLE_SECONDS]
        args += [settings.result_ttl, rq_time(), len(self._record), *self._record]
        pipe = self._redis.pipeline(transaction=False)
        for job, timeout in jobs:
            small = len(job.image) <= SMALL_IMAGE
            if not small:  # around Lua: through it the bytes cost three times as much
                pipe.set(f"image:{job.id}", job.image, ex=IMAGE_TTL)
            words = job_words(job)
            args += [job.id, job.image if small else b"", len(job.image), "" if timeout is None else timeout]
            args += [job.digest, len(words), *words]
        outcome, waiting, told = _SUBMIT.last_in(pipe, self._redis, (), args)
        return outcome.decode(), waiting, [each.decode() for each in told]

    def _full(self, refusal: str, lane: str, waiting: int) -> QueueFull:
        reasons = {  # of all REFUSALS
            "jobs": f"the {lane} queue is full: {waiting} jobs wait",
            "bytes": f"the queue holds as many bytes of images as it may ({self._settings.max_queue_bytes})",
            "image": "the image could not be stored",
        }
        seconds = self._seconds_to_drain(max(waiting, 1))
        return QueueFull(f"{reasons[refusal]}; send it again in {seconds} s", seconds)

    def _seconds_to_drain(self, waiting: int) -> int:
        rate = self._jobs_per_second()
        return min(max(math.ceil(waiting / rate), 1), 600) if rate > 0 else 10

    def _jobs_per_second(self) -> float:
        """How fast the workers are, as they measured it; a second old at most. 0 where nobody is there."""
        asked, rate = self._rate
        if time.monotonic() - asked > 1.0:
            served = self.fleet.served()
            rate = served.jobs_per_second if served else 0.0
            self._rate = (time.monotonic(), rate)
        return rate

    def replies(self, reply_to: str) -> list[Reply]:
        """Wait up to `BLOCK_SECONDS` for replies; those of jobs that ended together come together."""
        found = self._redis.blpop([reply_to], timeout=BLOCK_SECONDS)
        return [read_reply(each) for each in json.loads(found[1])] if found else []

    def watch(self, job_ids: Sequence[str], reply_to: str, owner: str = "") -> set[str]:
        """Ask for a reply when jobs end; return those that have ended or are unknown, which get none."""
        return {job_id.decode() for job_id in _WATCH(self._redis, (), (reply_to, owner, *job_ids))}

    def states(
        self, job_ids: Sequence[str], owner: str | None = None, *, positions: bool = False
    ) -> dict[str, JobState]:
        """Look jobs up; unknown ones, and those of another owner, are absent.

        With an owner of None, anyone's are found. A position costs time in proportion to the queue.
        """
        pipe = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hmget(f"rq:job:{job_id}", *STATE_FIELDS)
            pipe.xrevrange(f"rq:results:{job_id}", count=1)
        answers = read_all(pipe)
        found = {}
        for job_id, fields, entries in zip(job_ids, answers[::2], answers[1::2], strict=True):
            if fields and fields[0] is not None and owner in (None, (fields[-2] or b"").decode()):
                found[job_id] = read_state(job_id, fields, entries or [])
        for state in found.values() if positions else ():
            if state.status == "queued":
                found[state.id] = self._placed(state)
        return found

    def _placed(self, state: JobState) -> JobState:
        """The state of a queued job with its place in the line and the wait that this means."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.lpos(f"rq:queue:{state.queue}", state.id)
        pipe.llen(f"rq:queue:{INTERACTIVE}")
        index, interactive = pipe.execute()
        if index is None:  # it was just taken, or waits for an equal job
            return state
        ahead = index + (interactive if state.queue == BULK else 0)
        rate = self._jobs_per_second()
        return replace(state, position=index + 1, estimated_wait=round(ahead / rate, 1) if rate else None)

    def cancel(self, job_id: str, owner: str = "") -> str:
        """Cancel a job that waits; return its status, 'canceled' if it did, or '' where it is unknown."""
        error = json.dumps(JobFailure("canceled", "the job was canceled before it was begun").to_json())
        args = (job_id, owner, self._settings.result_ttl, rq_time(), error)
        return str(_CANCEL(self._redis, (), args).decode())

    def suspended(self) -> bool:
        """Whether someone has told all workers to take no jobs, with `rq suspend`."""
        return bool(self._redis.exists("rq:suspended"))

    def metrics(self) -> QueueMetrics:
        """How the queue is now, and what was counted since Redis began; in one trip."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        pipe.get("classification:bytes")
        pipe.hgetall(METRICS_KEY)
        for queue in QUEUES:
            pipe.llen(f"rq:queue:{queue}")
            pipe.zcard(f"rq:wip:{queue}")
            # Not to sort, but to follow the first id to its job in the same trip.
            pipe.sort(f"rq:queue:{queue}", start=0, num=1, by="nosort", get=["rq:job:*->submitted"])
        (seconds, micros), held, counts, *rest = pipe.execute()
        now = seconds + micros / 1e6
        return QueueMetrics(
            waiting=dict(zip(QUEUES, rest[::3], strict=True)),
            running=dict(zip(QUEUES, rest[1::3], strict=True)),
            oldest_wait={
                queue: max(now - read_number(first[0], now), 0.0) if first else 0.0
                for queue, first in zip(QUEUES, rest[2::3], strict=True)
            },
            image_bytes=int(held or 0),
            counts={Count.parse(name.decode()): float(amount) for name, amount in counts.items()},
        )


def reply_list(process: str) -> str:
    """The list that answers for the requests of a gateway process are pushed to."""
    return f"classification:reply:{process}"
