"""Data classes for jobs, claims, replies and job states, which gateway and worker exchange in Redis."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from shared.job import JobFailure, Options
from shared.queue.rq_call import decode_call


class QueueFull(Exception):
    """The queue is full and refuses jobs. A caller may retry after `retry_after` seconds, a whole number."""

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class KeyReused(Exception):
    """A caller used the same idempotency key for two different submissions."""


class NewJob(NamedTuple):
    """A job to be queued: one image with its options."""

    id: str
    image: bytes
    options: Options
    request_id: str = ""
    reply_to: str = ""
    """The Redis list that receives the job's reply, or '' if no reply is to be sent."""
    owner: str = ""
    """The caller who may see the job."""
    webhook: str = ""
    """The URL that receives a report of the job's end, or '' if the job has no webhook."""
    digest: str = ""
    """A hash of the job's content. Jobs with the same hash share one answer (see
    `shared.queue.wire.digest`)."""


class Repeatable(NamedTuple):
    """Hashes of the idempotency key and of the content of a submission that the caller may repeat."""

    key: str
    body: str


class Submitted(NamedTuple):
    """The ids of accepted jobs.

    `cache` has the result cache's outcome for each job ('', hit, collapsed, stored). `replayed` is True if
    the jobs belong to an earlier submission with the same idempotency key.
    """

    ids: list[str]
    cache: list[str]
    replayed: bool = False


@dataclass(frozen=True)
class Reply:
    """A job's result or failure, and the durations of its stages queue, decode and infer, in milliseconds."""

    job_id: str
    result: dict[str, Any] | None = None
    failure: JobFailure | None = None
    timing: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class JobState:
    """The state of a job, as callers see it.

    Points in time are texts in ISO 8601 format. `reply` is set when the job has ended.

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
    """The live workers: their model, their number and their total measured speed.

    While a model is replaced, `models` has several models with the number of workers of each model. `model`
    is the model of the worker that started last.
    """

    model: dict[str, Any]
    workers: int
    jobs_per_second: float
    models: tuple[tuple[dict[str, Any], int], ...]
    batch: int
    """Maximum number of inputs in one run of the model. If the workers' maximums differ, the lowest one."""


@dataclass(frozen=True)
class WorkerStatus:
    """A worker's speed, the maximum number of inputs in its batches, and its start in seconds since 1970."""

    jobs_per_second: float
    batch: int
    since: float


@dataclass(frozen=True)
class StartFailure:
    """The reason why a host's worker did not start. `at` is the failure's time in seconds since 1970."""

    host: str
    reason: str
    at: float


@dataclass(frozen=True)
class Claim:
    """A job that a worker has claimed for one attempt, under a lease. Durations are in seconds."""

    queue: str
    job_id: str
    execution: str
    data: bytes
    seconds_left: float | None
    attempt: int
    request_id: str
    seconds_waited: float
    image: bytes | None = field(default=None, repr=False)
    """The image's bytes, or None if the image is large and the worker must fetch it from Redis."""

    def options(self) -> Options:
        """Return the caller's options for the claimed job.

        Raises:
            ValueError: the record is not a job of this service.
        """
        return decode_call(self.data)


class ClaimOutcome(StrEnum):
    """The outcome of a worker's request for jobs, as `lua/claim.lua` returns it.

    The worker receives jobs only if the outcome is FRESH or RETRIED.
    """

    FRESH = "fresh"
    """The worker received fresh jobs: no worker has died while it ran one of these jobs."""
    RETRIED = "retried"
    """The worker received retried jobs: their previous worker died, perhaps because of one of their images.

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
    """The jobs that one claim moved to a worker, and the claim's outcome."""

    jobs: list[Claim]
    outcome: ClaimOutcome


class Settlement(NamedTuple):
    """The end of a claimed job.

    If `keep_image` is True, the job's image stays in Redis, so that `rq requeue` can queue the job again.
    """

    claim: Claim
    reply: Reply
    keep_image: bool = False

    @classmethod
    def failed(cls, claim: Claim, code: str, detail: str) -> "Settlement":
        """Return the settlement of a failed job.

        The job's image is kept only if another attempt could succeed.
        """
        reply = Reply(claim.job_id, failure=JobFailure(code, detail))
        return cls(claim, reply, keep_image=code == "model-failed")
