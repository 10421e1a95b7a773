"""Stages one and two: claim jobs, fetch their images, decode them on all cores."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from shared.image_header import ImageError
from shared.queue.messages import Claim, Settlement
from shared.queue.worker_client import WorkerQueue
from worker.next_batch import DecodedJob, NextBatch
from worker.decode import PixelSpec, decode
from worker.leased_jobs import LeasedJobs
from worker.redis_retry import RedisRetry

IDLE_SECONDS = 1.0
"""Longest wait for work. What RQ's own tools queue rings no bell, and is found after it."""

MOMENT_PER_JOB, MAX_MOMENT = 0.00025, 0.002
"""Seconds before the next claim, for each job of the last one, and at most: where jobs come by the dozen,
a moment brings more of them into one batch, and a lone one never waits (docs/performance.md)."""

GROUP_BYTES = 65_536
"""Images are decoded in groups of about this size: one small image is not worth the way to another thread."""

FULL_SECONDS = 0.05
"""Longest wait while one queue's part of the next batch is full, before the other is looked at again."""

Group = list[tuple[Claim, bytes | None]]


class FetchStage:
    """Claims what the next batch has room for, and puts it there decoded.

    `refuse` takes the jobs that end before the model: damaged, expired, not ours.
    """

    def __init__(
        self,
        worker: str,
        queue: WorkerQueue,
        held: LeasedJobs,
        batch: NextBatch,
        spec: PixelSpec,
        refuse: Callable[[list[Settlement]], None],
        patience: RedisRetry,
    ) -> None:
        self.worker, self.queue, self.held, self.batch = worker, queue, held, batch
        self.spec, self.refuse, self.patience = spec, refuse, patience
        self._pool = ThreadPoolExecutor(os.cpu_count(), "decode")
        self._recent = 0
        self._decoding: tuple[float, Sequence[Claim]] | None = None

    def hung(self, seconds: float) -> Sequence[Claim]:
        """The jobs that have been decoded together for longer than `seconds`, if any."""
        decoding = self._decoding
        return decoding[1] if decoding and time.monotonic() - decoding[0] > seconds else ()

    def step(self) -> None:
        """Claim once, or wait a moment for the reason why there was nothing to claim."""
        if self._recent > 1:
            time.sleep(min(self._recent * MOMENT_PER_JOB, MAX_MOMENT))
        claims = self.queue.claim(self.worker, self.batch.room(), idle=not self.held)
        self._recent = len(claims.jobs) or self._recent // 2
        if claims.jobs:
            self.held.add(claims.jobs)
            self._prepare(claims.jobs)
            if claims.suspects:  # nobody else's job may be here when they are run
                while not self.held.wait_empty(IDLE_SECONDS):
                    pass
        elif claims.why == "suspects":
            self.held.wait_empty(IDLE_SECONDS)
        elif claims.why == "room":
            self.batch.wait_taken(FULL_SECONDS)
        elif claims.why == "suspended":
            time.sleep(IDLE_SECONDS)
        else:
            self.queue.wait_for_work(IDLE_SECONDS)

    def _prepare(self, claims: Sequence[Claim]) -> None:
        images = self.patience.insist(lambda: self.queue.images(claims))
        self._decoding = (time.monotonic(), claims)
        groups = _groups(list(zip(claims, images, strict=True)))
        run: Any = map if len(groups) == 1 else self._pool.map
        outcomes: list[DecodedJob | Settlement] = [
            each for group in run(self._decode_all, groups) for each in group
        ]
        self._decoding = None
        refused = [each for each in outcomes if isinstance(each, Settlement)]
        if refused:
            self.refuse(refused)
        self.batch.add([each for each in outcomes if isinstance(each, DecodedJob)])

    def _decode_all(self, group: Group) -> list[DecodedJob | Settlement]:
        return [self._decode(claim, image) for claim, image in group]

    def _decode(self, claim: Claim, image: bytes | None) -> DecodedJob | Settlement:
        """Return the job ready for the model, or its end with the reason."""
        start = time.monotonic()
        if claim.seconds_left is not None and claim.seconds_left <= 0:
            return Settlement.failed(
                claim, "expired", "nobody waited for the answer any longer when the job's turn came"
            )
        if image is None:
            return Settlement.failed(
                claim, "image-lost", "the image was no longer stored when the job's turn came"
            )
        try:
            options = claim.options()
            pixels = decode(image, options.regions, self.spec)
        except ImageError as error:
            return Settlement.failed(claim, "image-damaged", str(error))
        except ValueError as error:
            return Settlement.failed(claim, "not-ours", str(error))
        return DecodedJob(claim, options, pixels, time.monotonic() - start)


def _groups(fetched: Group) -> list[Group]:
    """Neighbours together, until their images have `GROUP_BYTES`."""
    groups: list[Group] = []
    room = 0
    for claim, image in fetched:
        if room <= 0:
            groups.append([])
            room = GROUP_BYTES
        groups[-1].append((claim, image))
        room -= len(image or b"")
    return groups
