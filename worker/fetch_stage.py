"""The worker's first two stages: claim jobs, fetch the jobs' images, and decode the images on all cores."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shared.image_header import ImageError
from shared.job import Options
from shared.queue.messages import Claim, ClaimOutcome, Claims, Settlement
from shared.queue.worker_client import WorkerQueue
from worker.decode import Decoder, Outcome
from worker.leased_jobs import LeasedJobs
from worker.next_batch import DecodedJob, NextBatch
from worker.redis_retry import RedisRetry

logger = logging.getLogger(__name__)

MAX_IDLE_SECONDS = 1.0
"""Maximum time between two attempts to claim jobs, in seconds.

RQ's own tools queue a job without waking a worker. Therefore, each worker also looks for jobs regularly."""

GATHER_SECONDS_PER_JOB, MAX_GATHER_SECONDS = 0.00025, 0.002
"""Pause before the next claim: number of seconds per job of the last claim, and maximum in seconds.

While many jobs arrive, the pause makes batches larger. After a claim of a single job, the worker does not
pause (docs/performance.md)."""

MAX_FULL_SECONDS = 0.05
"""Maximum wait for room in the next batch, in seconds.

The wait is short, because jobs may arrive meanwhile in the other queue."""

_Job = tuple[Claim, Options, bytes]


@dataclass(kw_only=True)
class FetchStage:
    """Claims as many jobs as fit into the next batch, decodes their images, and adds the jobs to this batch.

    The stage calls `refuse` with the jobs that fail before the model runs. These jobs are expired or
    malformed, or have a damaged or lost image.

    Several threads may call `step` at once. One thread then fetches images while another thread decodes.
    """

    worker: str
    queue: WorkerQueue
    held: LeasedJobs
    batch: NextBatch
    refuse: Callable[[list[Settlement]], None]
    retry: RedisRetry
    decoder: Decoder
    _recent: int = 0
    _claiming: threading.Lock = field(default_factory=threading.Lock)
    _one_decodes: threading.Lock = field(default_factory=threading.Lock)
    _decoding: tuple[float, Sequence[Claim]] | None = None

    def hung(self, seconds: float) -> Sequence[Claim]:
        """Return the jobs whose decoding is still running after more than `seconds`."""
        decoding = self._decoding
        return decoding[1] if decoding and time.monotonic() - decoding[0] > seconds else ()

    def step(self) -> None:
        """Claim and decode jobs once; if there is no job to claim, wait."""
        with self._claiming:
            claims = self._claim()
            if not claims.jobs:
                return self._wait(claims.outcome)
            self.held.add(claims.jobs)
            if claims.outcome is ClaimOutcome.RETRIED:
                # A retried job may crash the worker, so no thread claims a job until this job is settled.
                self._decode_jobs(claims.jobs)
                while not self.held.wait_empty(MAX_IDLE_SECONDS):
                    pass
                return None
        return self._decode_jobs(claims.jobs)

    def _claim(self) -> Claims:
        if self._recent > 1:
            time.sleep(min(self._recent * GATHER_SECONDS_PER_JOB, MAX_GATHER_SECONDS))
        room, full_batch = self.batch.room(), self.batch.max_inputs()
        claims = self.queue.claim(self.worker, room, idle=not self.held, full_batch=full_batch)
        self._recent = len(claims.jobs) or self._recent // 2
        return claims

    def _wait(self, outcome: ClaimOutcome) -> None:
        """Wait before the next claim; `outcome` is the reason why the last claim returned no job."""
        if outcome is ClaimOutcome.NEEDS_IDLE:
            self.held.wait_empty(MAX_IDLE_SECONDS)
        elif outcome is ClaimOutcome.NO_ROOM:
            self.batch.wait_for_room(MAX_FULL_SECONDS)
        elif outcome is ClaimOutcome.SUSPENDED:
            time.sleep(MAX_IDLE_SECONDS)
        else:
            self.queue.wait_for_work(MAX_IDLE_SECONDS)

    def _decode_jobs(self, claims: Sequence[Claim]) -> None:
        images = self.retry.call(lambda: self.queue.images(claims))
        with self._one_decodes:
            self._decoding = (time.monotonic(), claims)
            outcomes = self._decode(claims, images)
            self._decoding = None
        if refused := [each for each in outcomes if isinstance(each, Settlement)]:
            self.refuse(refused)
        self.batch.add([each for each in outcomes if isinstance(each, DecodedJob)])

    def _decode(
        self, claims: Sequence[Claim], images: Sequence[bytes | None]
    ) -> list[DecodedJob | Settlement]:
        """Return the decoded jobs. For each job that fails, return a `Settlement` with the reason."""
        begun = [_begin(claim, image) for claim, image in zip(claims, images, strict=True)]
        valid = [each for each in begun if not isinstance(each, Settlement)]
        decoded = self.decoder.decode([(image, options.regions) for _, options, image in valid])
        ended = [_end(job, outcome) for job, outcome in zip(valid, decoded, strict=True)]
        return [each for each in begun if isinstance(each, Settlement)] + ended


def _end(job: _Job, outcome: Outcome) -> DecodedJob | Settlement:
    claim, options, _ = job
    if isinstance(outcome, ImageError):
        code = "image-too-large" if outcome.kind == "too-large" else "image-damaged"
        return Settlement.failed(claim, code, str(outcome))
    if outcome.is_truncated:
        logger.info("truncated image accepted: job %s", claim.job_id, extra={"job": claim.job_id})
    marks = (outcome.is_truncated, outcome.decoded_at)
    return DecodedJob(claim, options, outcome.pixels, outcome.seconds, *marks)


def _begin(claim: Claim, image: bytes | None) -> _Job | Settlement:
    """Return the job with its options and image. If the job must not run, return a settlement instead."""
    if claim.seconds_left is not None and claim.seconds_left <= 0:
        return Settlement.failed(claim, "expired", "the job's deadline passed before a worker began it")
    if image is None:
        return Settlement.failed(claim, "image-lost", "the image was lost before a worker began the job")
    try:
        return claim, claim.options(), image
    except ValueError as error:
        return Settlement.failed(claim, "not-ours", str(error))
