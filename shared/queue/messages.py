"""What travels through the queue: jobs, claims, replies and states."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from shared.job import JobFailure, Options
from shared.queue.rq_call import decode_call


class QueueFull(Exception):
    """The queue accepts no more jobs for now; `retry_after` is in whole seconds."""

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class KeyReused(Exception):
    """An idempotency key was sent again with another submission."""


class NewJob(NamedTuple):
    """An image to be queued."""

    id: str
    image: bytes
    options: Options
    request_id: str = ""
    reply_to: str = ""
    """The list that receives the reply; empty: there is no reply."""
    owner: str = ""
    """The caller who may see the job."""
    webhook: str = ""
    """The URL that receives the job's end; empty: there is no webhook."""
    digest: str = ""
    """Jobs of one digest share one answer (see `shared.queue.wire.digest`)."""


class Repeatable(NamedTuple):
    """A submission that its caller may repeat: the idempotency key and a hash of the submission."""

    key: str
    body: str


class Submitted(NamedTuple):
    """The ids of accepted jobs, and for each job the result cache's outcome ('', hit, collapsed, stored).

    `replayed`: the jobs belong to an earlier submission with the same idempotency key.
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
    """A job's record; times as RQ writes them, `reply` once the job has ended.

    `position` (from 1) and `estimated_wait` (seconds) are set for queued jobs, if positions were requested.
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
    """The model of the live workers, with the workers' number and total measured speed.

    While a model is replaced, `models` has several models with the number of workers of each model. `model`
    is the model of the worker that started last.
    """

    model: dict[str, Any]
    workers: int
    jobs_per_second: float
    models: tuple[tuple[dict[str, Any], int], ...]
    batch: int
    """Maximum number of inputs in one run of the model; the smallest maximum of all workers."""


@dataclass(frozen=True)
class WorkerStatus:
    """A worker's measured speed, its maximum batch in inputs, and its start in seconds since 1970."""

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
    """A small image arrives with its claim; None: the image has to be fetched."""

    def options(self) -> Options:
        """Return the caller's options.

        Raises:
            ValueError: the record is not a job of this service.
        """
        return decode_call(self.data)


class ClaimOutcome(StrEnum):
    """What a claim found, as `lua/claim.lua` returns it. Only fresh and retried claims hold jobs."""

    FRESH = "fresh"
    RETRIED = "retried"
    """The jobs' worker died, so they may be poison: run no other job until they have ended."""
    EMPTY = "empty"
    NO_ROOM = "no-room"
    """The next job has more inputs than the worker can accept."""
    NEEDS_IDLE = "needs-idle"
    """The next job is a retried job, and the worker still holds other jobs."""
    SUSPENDED = "suspended"
    """`rq suspend` has stopped all workers."""


class Claims(NamedTuple):
    """A claim's jobs and its outcome."""

    jobs: list[Claim]
    outcome: ClaimOutcome


class Settlement(NamedTuple):
    """The end of a claimed job; `keep_image` leaves the image for `rq requeue`."""

    claim: Claim
    reply: Reply
    keep_image: bool = False

    @classmethod
    def failed(cls, claim: Claim, code: str, detail: str) -> "Settlement":
        """Return a failed end. The image is kept only where another run could succeed."""
        reply = Reply(claim.job_id, failure=JobFailure(code, detail))
        return cls(claim, reply, keep_image=code == "model-failed")
