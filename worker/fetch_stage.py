"""The worker's first two stages: claim jobs, fetch the jobs' images, and decode the images on all cores."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from shared.image_header import ImageError
from shared.queue.messages import Claim, ClaimOutcome, Settlement
from shared.queue.worker_client import WorkerQueue
from worker.decode import PixelSpec, decode
from worker.leased_jobs import LeasedJobs
from worker.next_batch import DecodedJob, NextBatch
from worker.redis_retry import RedisRetry

MAX_IDLE_SECONDS = 1.0
"""Maximum time between two attempts to claim jobs, in seconds.

RQ's own tools queue a job without waking a worker. Therefore, each worker also looks for jobs regularly."""

GATHER_SECONDS_PER_JOB, MAX_GATHER_SECONDS = 0.00025, 0.002
"""Pause before the next claim: number of seconds per job of the last claim, and maximum in seconds.

While many jobs arrive, the pause makes batches larger. After a claim of a single job, the worker does not
pause (docs/performance.md)."""

GROUP_BYTES = 65_536
"""Minimum total size of the images that a decoding thread receives at once, in bytes.

Passing a single small image to a thread would cost more time than it saves."""

MAX_FULL_SECONDS = 0.05
"""Maximum wait for room in the next batch, in seconds.

The wait is short, because jobs may arrive meanwhile in the other queue."""

Group = list[tuple[Claim, bytes | None]]


@dataclass(kw_only=True)
class FetchStage:
    """Claims as many jobs as fit into the next batch, decodes their images, and adds the jobs to this batch.

    The stage calls `refuse` with the jobs that fail before the model runs. These jobs are expired or
    malformed, or have a damaged or lost image.
    """

    worker: str
    queue: WorkerQueue
    held: LeasedJobs
    batch: NextBatch
    spec: PixelSpec
    refuse: Callable[[list[Settlement]], None]
    retry: RedisRetry
    _pool: Executor = field(default_factory=lambda: ThreadPoolExecutor(os.cpu_count(), "decode"))
    _recent: int = 0
    _decoding: tuple[float, Sequence[Claim]] | None = None

    def hung(self, seconds: float) -> Sequence[Claim]:
        """Return the jobs whose decoding is still running after more than `seconds`."""
        decoding = self._decoding
        return decoding[1] if decoding and time.monotonic() - decoding[0] > seconds else ()

    def step(self) -> None:
        """Claim and decode jobs once; if there is no job to claim, wait."""
        if self._recent > 1:
            time.sleep(min(self._recent * GATHER_SECONDS_PER_JOB, MAX_GATHER_SECONDS))
        room, full_batch = self.batch.room(), self.batch.max_inputs()
        claims = self.queue.claim(self.worker, room, idle=not self.held, full_batch=full_batch)
        self._recent = len(claims.jobs) or self._recent // 2
        if not claims.jobs:
            return self._wait(claims.outcome)
        self.held.add(claims.jobs)
        self._decode_jobs(claims.jobs)
        # A retried job may crash the worker, so the worker claims no other job until it has settled this job.
        while claims.outcome is ClaimOutcome.RETRIED and not self.held.wait_empty(MAX_IDLE_SECONDS):
            pass

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
        self._decoding = (time.monotonic(), claims)
        groups = _groups(list(zip(claims, images, strict=True)))
        run: Any = map if len(groups) == 1 else self._pool.map
        outcomes = list(chain.from_iterable(run(self._decode_group, groups)))
        self._decoding = None
        if refused := [each for each in outcomes if isinstance(each, Settlement)]:
            self.refuse(refused)
        self.batch.add([each for each in outcomes if isinstance(each, DecodedJob)])

    def _decode_group(self, group: Group) -> list[DecodedJob | Settlement]:
        return [self._decode(claim, image) for claim, image in group]

    def _decode(self, claim: Claim, image: bytes | None) -> DecodedJob | Settlement:
        """Return the decoded job. If the job fails, return a `Settlement` with the reason."""
        start = time.monotonic()
        if claim.seconds_left is not None and claim.seconds_left <= 0:
            return Settlement.failed(claim, "expired", "the job's deadline passed before a worker began it")
        if image is None:
            return Settlement.failed(claim, "image-lost", "the image was lost before a worker began the job")
        try:
            options = claim.options()
            pixels = decode(image, options.regions, self.spec)
        except ImageError as error:
            return Settlement.failed(claim, "image-damaged", str(error))
        except ValueError as error:
            return Settlement.failed(claim, "not-ours", str(error))
        return DecodedJob(claim, options, pixels, time.monotonic() - start)


def _groups(fetched: Group) -> list[Group]:
    """Divide jobs into groups for the decoding threads.

    The images of every group have at least `GROUP_BYTES` bytes in total, except in the last group.
    """
    groups: list[Group] = []
    room = 0
    for claim, image in fetched:
        if room <= 0:
            groups.append([])
            room = GROUP_BYTES
        groups[-1].append((claim, image))
        room -= len(image or b"")
    return groups
