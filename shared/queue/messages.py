"""Data classes for the data that gateway and worker exchange in Redis, such as jobs and replies."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from shared.job import JobFailure, Options
from shared.queue.rq_call import decode_call


class QueueFull(Exception):
    """The queue refused a job.

    A caller may retry after `retry_after` seconds. `retry_after` is an integer.
    """

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
    """The Redis list that receives the job's reply, or '' if no request waits for a reply."""
    owner: str = ""
    """The caller who may see the job."""
    webhook: str = ""
    """The URL that receives a report of the job's end, or '' if the job has no webhook."""
    digest: str = ""
    """A hash of the job's content.

    Jobs with the same hash share one answer (see `shared.queue.wire.digest`)."""


class Repeatable(NamedTuple):
    """A submission that the caller may repeat.

    `key` is a hash of the submission's idempotency key. `body` is a hash of the submission's content.
    """

    key: str
    body: str


class Submitted(NamedTuple):
    """The ids of accepted jobs.

    `cache` has one of these values for each job:

    - 'hit': the job gets a stored answer from the result cache.
    - 'collapsed': the job gets the answer of an equal job that is waiting or running.
    - 'stored': the result cache will store the job's answer.
    - '': the job does not use the result cache.

    `replayed` is True if the jobs belong to an earlier submission with the same idempotency key.
    """

    ids: list[str]
    cache: list[str]
    replayed: bool = False


@dataclass(frozen=True)
class Reply:
    """A job's result or failure.

    `timing` has the number of milliseconds for each of the job's stages: queue, decode and infer.
    """

    job_id: str
    result: dict[str, Any] | None = None
    failure: JobFailure | None = None
    timing: dict[str, float] = field(default_factory=dict)
    cache: str = ""
    """The job's value of `Submitted.cache`. Only the gateway that submitted the job sets this attribute."""


@dataclass(frozen=True)
class EncodedReply:
    """A job's result as a JSON text, which is stored and sent unchanged. `timing` is as in `Reply`."""

    result: str
    timing: dict[str, float]
    failure: None = None


@dataclass(frozen=True)
class JobState:
    """The state of a job, as callers see it.

    Points in time are texts in ISO 8601 format. `reply` is set when the job has ended.

    `position` and `estimated_wait` are set only for queued jobs, and only if positions were requested. The
    first job in the queue has position 1. `estimated_wait` is in seconds.
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


class WorkerDevice(NamedTuple):
    """The devices of one kind ('cpu' or 'gpu') and name, and the number of workers that use these devices."""

    kind: str
    name: str
    workers: int


@dataclass(frozen=True)
class Served:
    """The model, the number and the total measured speed of the live workers.

    `models` has each model with the number of its workers. While an operator replaces a model, `models` has
    several models. `model` is the model of the worker that started last.
    """

    model: dict[str, Any]
    workers: int
    jobs_per_second: float
    models: tuple[tuple[dict[str, Any], int], ...]
    batch: int
    """Maximum number of inputs in one run of the model.

    If workers have different maximums, this attribute is the lowest maximum."""
    devices: tuple["WorkerDevice", ...] = ()
    """The devices that run the models. Devices of the same kind and name are one entry.

    Workers of older versions do not publish their device."""

    @property
    def warnings(self) -> list[str]:
        """The workers' warnings about their files, each warning once. Workers of older versions have none."""
        return [*dict.fromkeys(each for model, _ in self.models for each in model.get("warnings", ()))]


@dataclass(frozen=True)
class WorkerStatus:
    """A worker's status.

    `batch` is the maximum number of inputs in one batch. `since` is the time of the worker's start, in
    seconds since 1970. `device` has the kind ('cpu' or 'gpu') and the name of the device that runs the model.
    Workers of older versions publish no device.
    """

    jobs_per_second: float
    batch: int
    since: float
    device: tuple[str, str] | None = None


@dataclass(frozen=True)
class StartFailure:
    """A worker's failed start, with its cause `reason` and its time `at` in seconds since 1970."""

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
            ValueError: the job's record is invalid.
        """
        return decode_call(self.data)


class ClaimOutcome(StrEnum):
    """The possible answers to a worker's request for jobs. `lua/claim.lua` returns one of these answers.

    The worker receives jobs only if the answer is FRESH or RETRIED.
    """

    FRESH = "fresh"
    """The worker received fresh jobs. A job is fresh if no worker has died while running the job."""
    RETRIED = "retried"
    """The worker received retried jobs.

    A retried job is a job whose previous worker died. The job's image may have caused the previous worker's
    death.

    The worker must run no other job until the retried jobs have ended."""
    EMPTY = "empty"
    """The worker received no job, because no job waits in either queue."""
    NO_ROOM = "no-room"
    """The worker received no job, because the next job has more inputs than the worker can accept now."""
    NEEDS_IDLE = "needs-idle"
    """The worker received no job, because the next job is a retried job.

    Only a worker without jobs may receive a retried job. The worker that requested jobs still has other
    jobs."""
    SUSPENDED = "suspended"
    """The worker received no job, because an operator stopped all workers with `rq suspend`."""


class Claims(NamedTuple):
    """The answer to a worker's request for jobs. `jobs` has the jobs that the worker received."""

    jobs: list[Claim]
    outcome: ClaimOutcome


class Settlement(NamedTuple):
    """The end of a claimed job.

    If `keep_image` is True, the job's image stays in Redis. While the image is in Redis, an operator can
    queue the job again with `rq requeue`.
    """

    claim: Claim
    reply: Reply | EncodedReply
    keep_image: bool = False

    @classmethod
    def failed(cls, claim: Claim, code: str, detail: str) -> "Settlement":
        """Return the `Settlement` of a failed job.

        The job's image stays in Redis only if another attempt could succeed.
        """
        reply = Reply(claim.job_id, failure=JobFailure(code, detail))
        return cls(claim, reply, keep_image=code == "model-failed")
