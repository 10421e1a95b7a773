"""The data that passes through the queue: jobs, claims, replies and job states."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from shared.job import JobFailure, Options
from shared.queue.rq_call import decode_call


class QueueFull(Exception):
    """The queue accepts no more jobs for now; a caller may retry after `retry_after` whole seconds."""

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class KeyReused(Exception):
    """A caller sent an idempotency key again, with another submission."""


class NewJob(NamedTuple):
    """A job to be queued: one image with its options."""

    id: str
    image: bytes
    options: Options
    request_id: str = ""
    reply_to: str = ""
    """The Redis list that receives the job's reply; empty: no reply is sent."""
    owner: str = ""
    """The caller who may see the job."""
    webhook: str = ""
    """The URL that receives a report of the job's end; empty: the job has no webhook."""
    digest: str = ""
    """A hash of the request: jobs with the same hash share one answer (see `shared.queue.wire.digest`)."""


class Repeatable(NamedTuple):
    """The idempotency key and a hash of a submission that its caller may repeat."""

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
    """The end of a job: a result or a failure, and the milliseconds of its stages (queue, decode, infer)."""

    job_id: str
    result: dict[str, Any] | None = None
    failure: JobFailure | None = None
    timing: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class JobState:
    """The state of a job. Times have RQ's text form, and `reply` is set when the job has ended.

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
    """The model of the live workers, with the number of workers and their total measured speed.

    While a model is replaced, `models` has several models with the number of workers of each model. `model`
    is the model of the worker that started last.
    """

    model: dict[str, Any]
    workers: int
    jobs_per_second: float
    models: tuple[tuple[dict[str, Any], int], ...]
    batch: int
    """Maximum number of inputs in one run of the model: the smallest of the workers' maximums."""


@dataclass(frozen=True)
class WorkerStatus:
    """A worker's measured speed, its maximum batch in inputs, and its start time in seconds since 1970."""

    jobs_per_second: float
    batch: int
    since: float


@dataclass(frozen=True)
class StartFailure:
    """The reason why a host's worker did not start; `at` is the time in seconds since 1970."""

    host: str
    reason: str
    at: float


@dataclass(frozen=True)
class Claim:
    """One worker's attempt at one job, under a lease; times in seconds."""

    queue: str
    job_id: str
    execution: str
    data: bytes
    seconds_left: float | None
    attempt: int
    request_id: str
    seconds_waited: float
    image: bytes | None = field(default=None, repr=False)
    """The image, if it is small; None: the worker has to fetch the image from Redis."""

    def options(self) -> Options:
        """Return the caller's options.

        Raises:
            ValueError: the record is not a job of this service.
        """
        return decode_call(self.data)


class ClaimOutcome(StrEnum):
    """The outcome of a worker's request for jobs, as `lua/claim.lua` returns it.

    The worker receives jobs only if the outcome is FRESH or RETRIED.
    """

    FRESH = "fresh"
    """The worker received jobs; no worker has died during an attempt at these jobs."""
    RETRIED = "retried"
    """The worker received jobs whose previous worker died, perhaps because of one of their images.

    The worker must run no other job until the retried jobs have ended."""
    EMPTY = "empty"
    """The worker received no job, because no job waits in either queue."""
    NO_ROOM = "no-room"
    """The worker received no job, because the next job has more inputs than fit into the next batch."""
    NEEDS_IDLE = "needs-idle"
    """The worker received no job, because the next job is a retried job and the worker has other jobs.

    A retried job is given only to a worker that has no other jobs."""
    SUSPENDED = "suspended"
    """The worker received no job, because an operator stopped all workers with `rq suspend`."""


class Claims(NamedTuple):
    """The claimed jobs and the outcome of the claim."""

    jobs: list[Claim]
    outcome: ClaimOutcome


class Settlement(NamedTuple):
    """The end of a claimed job; `keep_image` keeps the image in Redis for `rq requeue`."""

    claim: Claim
    reply: Reply
    keep_image: bool = False

    @classmethod
    def failed(cls, claim: Claim, code: str, detail: str) -> "Settlement":
        """Return the end of a failed job. Its image is kept only if another attempt could succeed."""
        reply = Reply(claim.job_id, failure=JobFailure(code, detail))
        return cls(claim, reply, keep_image=code == "model-failed")
