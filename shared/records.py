"""The form of what stands in Redis: jobs as RQ 3 records them, and what is read from there.

`shared/queue.py` says where it stands; docs/protocol.md describes both.
"""

import hashlib
import json
import math
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from shared import webhook
from shared.job import JobFailure, Options
from shared.settings import Settings

FUNCTION = "worker.task.classify"
"""The function name in every job's record. The worker runs its own code whatever a record names."""

ENDED = ("finished", "failed", "canceled", "expired", "stopped")
"""The statuses of a job that will not change any more."""

STUCK_TIMEOUT = 600
"""RQ's `timeout` of a job, in seconds; our leases are shorter, so only RQ's own tools read it."""


MOST_CALL_BYTES = 2**20
"""Of a job's function and arguments; ten thousand regions take a third of it."""


class QueueFull(Exception):
    """The queue holds as much as it may; `retry_after` is in whole seconds."""

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class KeyReused(Exception):
    """The key of a repeatable submission came with another body."""


class NewJob(NamedTuple):
    """An image to be queued.

    `reply_to` names the list that the answer is pushed to, if any; `owner` whose job it is; `webhook` the
    address that is told of its end. Jobs of the same `digest` (see `digest`) share one answer.
    """

    id: str
    image: bytes
    options: Options
    request_id: str = ""
    reply_to: str = ""
    owner: str = ""
    webhook: str = ""
    digest: str = ""


class Repeatable(NamedTuple):
    """A submission that may come again: the caller's key for it, and a hash of what was submitted."""

    key: str
    body: str


class Submitted(NamedTuple):
    """The accepted jobs' ids, with what the cache did ('', hit, collapsed, stored) for each.

    `replayed` says that they are those of an earlier submission under the same key.
    """

    ids: list[str]
    cache: list[str]
    replayed: bool = False


@dataclass(frozen=True)
class Reply:
    """How a job ended: a result or a failure; `timing` in milliseconds (queue, decode, infer)."""

    job_id: str
    result: dict[str, Any] | None = None
    failure: JobFailure | None = None
    timing: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class JobState:
    """What is known of a job; times as RQ writes them, `reply` once it has ended.

    `position` counts from 1, `estimated_wait` is in seconds; both only where they were asked for.
    """

    id: str
    status: str
    queue: str
    submitted_at: str
    started_at: str | None
    ended_at: str | None
    attempts: int
    cache: str = ""
    reply: Reply | None = None
    position: int | None = None
    estimated_wait: float | None = None


@dataclass(frozen=True)
class Served:
    """What the live workers serve: the model's description, their number and measured speed.

    While a model is changed there are several in `models`, each with the number of its workers; `model` is
    that of the worker that started last.
    """

    model: dict[str, Any]
    workers: int
    jobs_per_second: float
    models: tuple[tuple[dict[str, Any], int], ...]
    batch: int
    """The most inputs that the model is run on at once; of several workers, the least."""


@dataclass(frozen=True)
class WorkerStatus:
    """How a worker does: its measured speed, its largest batch, its start in seconds since 1970."""

    jobs_per_second: float
    batch: int
    since: float


@dataclass(frozen=True)
class StartFailure:
    """Why a host's worker did not start: `at` is in seconds since 1970."""

    host: str
    reason: str
    at: float


@dataclass(frozen=True)
class Claim:
    """One attempt at one job, held under a lease; times in seconds."""

    queue: str
    job_id: str
    execution: str
    data: bytes
    seconds_left: float | None
    attempt: int
    request_id: str
    seconds_waited: float
    image: bytes | None = field(default=None, repr=False)
    """A small image comes with its claim; None for one to be fetched."""

    def options(self) -> Options:
        """What the caller asked.

        Raises:
            ValueError: the record is not a job of this service.
        """
        return _usual_options(self.data) if len(self.data) < MOST_USUAL_BYTES else _options(self.data)


def _options(data: bytes) -> Options:
    try:
        # Never more than a call may have: a kilobyte can unpack to a megabyte.
        call = zlib.decompressobj().decompress(data, MOST_CALL_BYTES)
        function, _, _, kwargs = json.loads(call)
    except (ValueError, TypeError, RecursionError, zlib.error) as error:
        raise ValueError(f"not a job of this service: {error}") from None
    if function != FUNCTION or not isinstance(kwargs, dict):
        raise ValueError(f"not a job of this service: it names the function {str(function)[:80]!r}")
    return Options.from_json(kwargs)


_usual_options = lru_cache(maxsize=16)(_options)
"""Most callers ask for the same; a few bytes can unpack to ten thousand regions, so few are kept."""

MOST_USUAL_BYTES = 256


class Claims(NamedTuple):
    """A claim's outcome: the jobs, or why there are none (empty, room, suspects, suspended)."""

    jobs: list[Claim]
    suspects: bool
    why: str


class Ending(NamedTuple):
    """A claimed job's end, as `settle` takes it; `keep_image` leaves the image for `rq requeue`."""

    claim: Claim
    reply: Reply
    keep_image: bool = False

    @classmethod
    def failed(cls, claim: Claim, code: str, detail: str) -> "Ending":
        """An end without an answer; the image is kept only where running it again might help."""
        reply = Reply(claim.job_id, failure=JobFailure(code, detail))
        return cls(claim, reply, keep_image=code == "model-failed")


STATE_FIELDS = (
    *("status", "origin", "enqueued_at", "started_at", "ended_at"),
    *("attempts", "cache", "owner", "error"),
)


def settle_words(claim: Claim, reply: Reply, keep_image: bool) -> tuple[Any, ...]:
    """How an attempt ended, in the words that `lua/settle.lua` takes."""
    result, timing, error = _json(reply.result), _json(reply.timing), "null"
    if reply.failure is None:
        code, value = "", b64encode(f'{{"result":{result},"timing":{timing}}}'.encode())
    else:
        code, error, value = reply.failure.code, _json(reply.failure.to_json()), exc_string(reply.failure)
    ids = (claim.queue, claim.job_id, claim.execution)
    return (*ids, code, result, timing, error, value, int(keep_image))


def digest(image: bytes, options: Options, model: Mapping[str, Any], owner: str = "") -> str:
    """What is equal for jobs that share one answer: whose they are, the image, what is asked and served."""
    served = [model["id"], model["fingerprint"], model["thresholds"]]
    asked = json.dumps([options.to_json(), served, owner], sort_keys=True).encode()
    # The lengths of hashes are fixed, so no two inputs run into one another.
    whole = hashlib.sha256(hashlib.sha256(asked).digest() + hashlib.sha256(image).digest())
    return f"{model['id']}:{whole.hexdigest()}"


def shared_words(settings: Settings) -> list[Any]:
    """The fields of RQ's job record that are the same for every job."""
    record = {
        "status": "queued",
        "timeout": STUCK_TIMEOUT,
        "result_ttl": settings.result_ttl,
        "failure_ttl": settings.result_ttl,
        # RQ's cleanup, which `rq info` runs, must requeue a dead worker's job as ours does.
        "retries_left": settings.job_max_attempts - 1,
    }
    return [word for pair in record.items() for word in pair]


def job_words(job: NewJob) -> list[Any]:
    """The fields of RQ's job record that are this job's own."""
    data, description = _call(job.options)
    words = ["data", data, "description", description, "inputs", job.options.inputs]
    words += ["request_id", job.request_id, "reply_to", job.reply_to]
    if job.owner:
        words += ["owner", job.owner]
    if job.webhook:
        words += ["webhook", json.dumps(_webhook(job))]
    return words


@lru_cache(maxsize=256)
def _call(options: Options) -> tuple[bytes, str]:
    """RQ's form of a call, and a line about it for RQ's tools; most callers ask for the same."""
    data = zlib.compress(json.dumps([FUNCTION, None, [], options.to_json()]).encode())
    return data, f"classify {options.inputs} input(s), top {options.top_n}"


def _webhook(job: NewJob) -> dict[str, Any]:
    """What `lua/ended.lua` needs to queue RQ's job that tells the address."""
    words = [word for pair in webhook.RECORD.items() for word in pair]
    return {"url": job.webhook, "function": webhook.FUNCTION, "record": words}


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""`json.dumps` would make an encoder each time."""


def rq_time() -> str:
    """Now, in the form of RQ's records."""
    return datetime.now(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def exc_string(failure: JobFailure) -> bytes:
    """A failure as RQ keeps the text of an exception."""
    return b64encode(zlib.compress(f"{failure.code}: {failure.detail}".encode()))


def read_reply(message: dict[str, Any]) -> Reply:
    """Read what `lua/ended.lua` pushes to those that wait."""
    failure = message.get("failure")
    return Reply(
        message["id"],
        message.get("result"),
        JobFailure(failure["code"], failure["detail"]) if failure else None,
        message.get("timing") or {},
    )


def read_state(job_id: str, fields: list[bytes | None], entries: list[Any]) -> JobState:
    """Read a job's `STATE_FIELDS` and the latest entry of its results."""
    status, queue, submitted, started, ended, attempts, cache, *_ = (
        (each or b"").decode() for each in fields
    )
    if status == "deferred":
        status = "queued"  # RQ's word for a job that waits for another
    reply = _ended(job_id, fields[-1], entries) if status in ENDED else None
    if reply is not None and reply.failure is not None and reply.failure.code == "expired":
        status = "expired"  # RQ has no such status: to it, the job failed
    return JobState(
        *(job_id, status, queue, submitted, started or None, ended or None),
        *(int(read_number(attempts, 0)), cache, reply),
    )


def read_number(text: bytes | str | None, otherwise: float) -> float:
    """Read a number that can be counted with, or return `otherwise`."""
    try:
        number = float(text or otherwise)
    except ValueError:
        return otherwise
    return number if math.isfinite(number) else otherwise


def _ended(job_id: str, error: bytes | None, entries: list[Any]) -> Reply:
    if error:
        return read_reply({"id": job_id, "failure": json.loads(error)})
    value = entries[0][1].get(b"return_value") if entries else None
    if value is None:  # failed by RQ's own tools, which write no error of ours
        return Reply(
            job_id, failure=JobFailure("attempts-exhausted", "the job was ended by RQ's own cleanup")
        )
    return read_reply({"id": job_id, **json.loads(b64decode(value))})


def read_claim(queue: str, row: list[Any]) -> Claim:
    """Read one job of what `lua/claim.lua` answers."""
    job_id, execution, data, left, attempt, request_id, waited, image = row
    return Claim(
        queue,
        job_id.decode(errors="replace"),
        execution.decode(),
        data,
        float(left) if left else None,
        int(attempt),
        request_id.decode(errors="replace"),
        float(waited),
        image or None,
    )
