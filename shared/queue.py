"""The queue: RQ's own records, taken and settled in batches.

This is the only module (with the scripts in `lua/`) that knows a Redis key; docs/protocol.md lists them.
Jobs, registries, executions and results stand in Redis as RQ 3 writes them, so `rq info`, rq-dashboard,
`rq requeue` and `rq suspend` work on a running system. What RQ does one job at a time and in many
commands (submit, claim, renew, settle, reap) is done here for a batch, each step in one atomic script.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.client import Pipeline

from shared.connection import BLOCK_SECONDS
from shared.figures import Count, QueueFigures
from shared.job import JobFailure
from shared.records import (
    STATE_FIELDS,
    Claim,
    Claims,
    Ending,
    JobState,
    KeyReused,
    NewJob,
    QueueFull,
    Repeatable,
    Reply,
    Served,
    StartFailure,
    Submitted,
    WorkerStatus,
    exc_string,
    job_words,
    read_claim,
    read_number,
    read_reply,
    read_state,
    rq_time,
    settle_words,
    shared_words,
)
from shared.script import Script
from shared.settings import Settings

INTERACTIVE, BULK = "interactive", "bulk"
QUEUES = (INTERACTIVE, BULK)
"""RQ's names of the two queues: a caller waits for the first, and polls for the second."""

IMAGE_TTL = 86_400
"""Seconds that an image may wait for a worker."""

REFUSALS = ("jobs", "bytes", "image")
"""Why `lua/submit.lua` takes no job."""

SMALL_IMAGE = 65_536
"""Bytes up to which an image travels through the scripts, without a command of its own."""

REPEATABLE_SECONDS = 86_400
"""How long a submission can be repeated under its key."""

START_FAILURE_TTL = 3600
"""Seconds that the reason why a worker did not start is told."""

_WAKE = "classification:wake"
_START_FAILURES = "classification:start-failures"
_FIGURES = "classification:figures"
_EXHAUSTED = JobFailure(
    "attempts-exhausted",
    "every worker that began this job died of it; it was given up after the last attempt",
)


_ENDS = ("fields", "ended")
_SUBMIT, _CANCEL, _COUNT = Script(*_ENDS, "submit"), Script(*_ENDS, "cancel"), Script("count")
_CLAIM, _RENEW, _GIVE_BACK = (Script("fields", each) for each in ("claim", "renew", "give_back"))
_SETTLE, _REAP, _WATCH = Script(*_ENDS, "settle"), Script(*_ENDS, "reap"), Script("fields", "watch")


class JobQueue:
    """Both sides of the queue. Every method may raise `redis.exceptions.RedisError`."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self._redis, self._settings = redis, settings
        self._rate: tuple[float, float] = (0.0, 0.0)
        self._record = shared_words(settings)

    # ---------------------------------------------------------------- the gateway's side

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

    @property
    def _fresh(self) -> int:
        return self._settings.job_max_attempts - 1

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
            served = self.served()
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
        answers = _readable(pipe)
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

    def served(self) -> Served | None:
        """What the live workers serve, or None where no worker is alive with a warm model."""
        alive = sorted(self.alive().values(), key=lambda each: -each["since"])
        counts = Counter(each["model"] for each in alive)  # in that order, too
        told = self._redis.mget([f"classification:model:{model}" for model in counts]) if counts else []
        models = tuple((json.loads(each), n) for each, n in zip(told, counts.values(), strict=True) if each)
        if not models:
            return None
        speed = sum(each["jobs_per_second"] for each in alive)
        return Served(models[0][0], len(alive), speed, models, min(each["batch"] for each in alive))

    def suspended(self) -> bool:
        """Whether someone has told all workers to take no jobs, with `rq suspend`."""
        return bool(self._redis.exists("rq:suspended"))

    def start_failures(self) -> list[StartFailure]:
        """Why workers did not start, of the last `START_FAILURE_TTL` seconds; the latest first."""
        raw: dict[bytes, bytes] = self._redis.hgetall(_START_FAILURES)  # type: ignore[assignment]
        told = (StartFailure(host.decode(), **json.loads(each)) for host, each in raw.items())
        recent = (each for each in told if each.at > time.time() - START_FAILURE_TTL)
        return sorted(recent, key=lambda each: -each.at)

    def alive(self) -> dict[str, dict[str, Any]]:
        """What each worker told that is alive with a warm model, by the worker's name."""
        keys: set[bytes] = self._redis.smembers(f"rq:workers:{INTERACTIVE}")  # type: ignore[assignment]
        names = [key.decode().removeprefix("rq:worker:") for key in sorted(keys)]
        raw = self._redis.mget([f"classification:worker:{name}" for name in names]) if names else []
        return {name: json.loads(each) for name, each in zip(names, raw, strict=True) if each}

    def figures(self) -> QueueFigures:
        """How the queue is now, and what was counted since Redis began; in one trip."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        pipe.get("classification:bytes")
        pipe.hgetall(_FIGURES)
        for queue in QUEUES:
            pipe.llen(f"rq:queue:{queue}")
            pipe.zcard(f"rq:wip:{queue}")
            # Not to sort, but to follow the first id to its job in the same trip.
            pipe.sort(f"rq:queue:{queue}", start=0, num=1, by="nosort", get=["rq:job:*->submitted"])
        (seconds, micros), held, counts, *rest = pipe.execute()
        now = seconds + micros / 1e6
        return QueueFigures(
            waiting=dict(zip(QUEUES, rest[::3], strict=True)),
            running=dict(zip(QUEUES, rest[1::3], strict=True)),
            oldest_wait={
                queue: max(now - read_number(first[0], now), 0.0) if first else 0.0
                for queue, first in zip(QUEUES, rest[2::3], strict=True)
            },
            image_bytes=int(held or 0),
            counts={Count.parse(name.decode()): float(amount) for name, amount in counts.items()},
        )

    # ---------------------------------------------------------------- the worker's side

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
        args = (worker, uuid4().hex, *limits, self._fresh, rq_time(), SMALL_IMAGE)
        why, queue, rows = _CLAIM(self._redis, (), args)
        return Claims([read_claim(queue.decode(), row) for row in rows], why == b"suspects", why.decode())

    def wait_for_work(self, seconds: float) -> None:
        """Return when a job was queued, or after `seconds` (at most `BLOCK_SECONDS`)."""
        self._redis.blpop([_WAKE], timeout=min(seconds, BLOCK_SECONDS))

    def images(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """The claimed jobs' images; None for one that Redis no longer has."""
        apart = [claim for claim in claims if claim.image is None]
        if not apart:
            return [claim.image for claim in claims]
        pipe = self._redis.pipeline(transaction=False)
        for claim in apart:
            pipe.get(f"image:{claim.job_id}")
        fetched = iter(_readable(pipe))
        return [next(fetched) if claim.image is None else claim.image for claim in claims]

    def renew(self, worker: str, claims: Iterable[Claim]) -> set[str]:
        """Renew the leases of what `worker` holds; return the executions that went to another."""
        args = [each for c in claims for each in (c.queue, c.job_id, c.execution)]
        lost = _RENEW(self._redis, (), (self._settings.job_lease, worker, *args)) if args else []
        return {execution.decode() for execution in lost}

    def settle(self, worker: str, endings: Sequence[Ending], model: str = "") -> list[bool]:
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

    def publish(self, worker: str, model: dict[str, Any], status: WorkerStatus) -> None:
        """Tell the gateways that `worker` is alive, what it serves and how it does; for one lease."""
        ttl = math.ceil(self._settings.job_lease)
        told = json.dumps({"model": model["id"], **asdict(status)})
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(f"classification:model:{model['id']}", json.dumps(model, ensure_ascii=False), ex=10 * ttl)
        pipe.set(f"classification:worker:{worker}", told, ex=ttl)
        pipe.execute()

    def fail_start(self, host: str, reason: str) -> None:
        """Tell the gateways why the worker of a host does not start; its next one may."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hset(_START_FAILURES, host, json.dumps({"reason": reason, "at": time.time()}))
        pipe.expire(_START_FAILURES, START_FAILURE_TTL)
        pipe.execute()

    def started(self, host: str) -> None:
        """Tell the gateways that a worker of a host has started: what stopped an earlier one is mended."""
        self._redis.hdel(_START_FAILURES, host)

    def count(self, worker: str, number: int, amounts: Mapping[str, float]) -> None:
        """Add what `worker` counted to the figures of all; the same number is not counted twice."""
        args = [each for pair in amounts.items() for each in pair]
        _COUNT(self._redis, (_FIGURES, f"classification:counted:{worker}"), (number, *args))

    def unpublish(self, worker: str) -> None:
        """Tell the gateways that `worker` takes no more jobs."""
        self._redis.delete(f"classification:worker:{worker}")


def _readable(pipe: Pipeline) -> list[Any]:
    """The answers of a pipeline that reads; None where something else stands than what is looked for."""
    answers = pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and not str(answer).startswith("WRONGTYPE"):
            raise answer
    return [None if isinstance(answer, Exception) else answer for answer in answers]


def reply_list(process: str) -> str:
    """The list that answers for the requests of a gateway process are pushed to."""
    return f"classification:reply:{process}"
