"""What travels through the queue: jobs, claims, replies and states."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from shared.job import JobFailure, Options
from shared.queue.rq_call import decode_call


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
        return decode_call(self.data)


class Claims(NamedTuple):
    """A claim's outcome: the jobs, or why there are none (empty, room, suspects, suspended)."""

    jobs: list[Claim]
    suspects: bool
    why: str


class Settlement(NamedTuple):
    """A claimed job's end, as `settle` takes it; `keep_image` leaves the image for `rq requeue`."""

    claim: Claim
    reply: Reply
    keep_image: bool = False

    @classmethod
    def failed(cls, claim: Claim, code: str, detail: str) -> "Settlement":
        """An end without an answer; the image is kept only where running it again might help."""
        reply = Reply(claim.job_id, failure=JobFailure(code, detail))
        return cls(claim, reply, keep_image=code == "model-failed")
