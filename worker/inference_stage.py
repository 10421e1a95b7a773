"""The worker's inference stage: runs the model on the images of many jobs at once."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.queue.messages import Claim, Settlement
from worker.leased_jobs import LeasedJobs
from worker.next_batch import DecodedJob, NextBatch
from worker.worker_metrics import WorkerMetrics

logger = logging.getLogger(__name__)


class Model(Protocol):
    """The interface through which the inference stage uses the engine."""

    @property
    def input_batch(self) -> int:
        """Maximum number of inputs in one run of the model."""

    def run(self, pixels: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Return the scores, float32 [n, classes], of n inputs, uint8 [n, height, width, channels].

        The scores have the order of the inputs.
        """


@dataclass(frozen=True)
class ScoredJob:
    """A job with its scores, float32 [inputs, classes], and the start and duration of the model's run."""

    job: DecodedJob
    scores: NDArray[np.float32]
    started: float
    infer_seconds: float


Outcomes = tuple[list[ScoredJob], list[Settlement]]
"""Outcomes of a batch: a list of jobs with scores, and a list of failed jobs."""


@dataclass
class Throughput:
    """Speed of the busy model in jobs per second, as a moving average over the last batches."""

    jobs_per_second: float
    _last_end: float = field(default=0.0, init=False)

    def update(self, jobs: int, start: float, end: float) -> None:
        """Include a batch in the average speed.

        If the pause before the batch was shorter than 50 ms, it counts as working time. A longer pause counts
        as idle time.
        """
        since = self._last_end if start - self._last_end < 0.05 else start
        self._last_end = end
        self.jobs_per_second += 0.2 * (jobs / max(end - since, 1e-6) - self.jobs_per_second)


@dataclass(kw_only=True)
class InferenceStage:
    """Runs the model on one batch after another."""

    model: Model
    batch: NextBatch
    held: LeasedJobs
    throughput: Throughput
    metrics: WorkerMetrics
    reply: Callable[[list[ScoredJob], list[Settlement]], None]
    _running: tuple[float, Sequence[DecodedJob]] | None = None

    def hung(self, seconds: float) -> Sequence[Claim]:
        """Return the jobs of a batch on which the model is still running after more than `seconds`."""
        running = self._running
        late = running is not None and time.monotonic() - running[0] > seconds
        return [job.claim for job in running[1]] if running and late else ()

    def step(self) -> bool:
        """Run the model on the next batch; return False if there will be no more batches."""
        taken = self.batch.take()
        if not taken:
            return False
        jobs = [job for job in taken if not self.held.is_lost(job.claim)]
        lost = [job.claim for job in taken if self.held.is_lost(job.claim)]
        self.metrics.count_late(lost)
        self.held.remove(lost)
        if jobs:
            self.metrics.count_started(jobs, time.monotonic())
            self.reply(*self._run(jobs))
        return True

    def _run(self, jobs: Sequence[DecodedJob]) -> Outcomes:
        inputs, start = sum(len(job.pixels) for job in jobs), time.monotonic()
        self._running = (start, jobs)
        try:
            scores = self.model.run(np.concatenate([job.pixels for job in jobs]))
        except Exception as error:
            self.metrics.count_run(inputs, time.monotonic() - start)
            return self._isolate(jobs, error)
        finally:
            self._running = None
        end = time.monotonic()
        self.throughput.update(len(jobs), start, end)
        self.metrics.count_run(inputs, end - start)
        self.metrics.count_answered(jobs, end)
        _log(jobs, inputs, end - start)
        rows = np.split(scores, np.cumsum([len(job.pixels) for job in jobs])[:-1])
        return [ScoredJob(job, row, start, end - start) for job, row in zip(jobs, rows, strict=True)], []

    def _isolate(self, jobs: Sequence[DecodedJob], error: Exception) -> Outcomes:
        """Run the model separately on each half of a failed batch.

        This is repeated until only the job that causes the error fails.
        """
        if len(jobs) == 1:
            claim = jobs[0].claim
            logger.exception("job %s: the model failed", claim.job_id)
            return [], [Settlement.failed(claim, "model-failed", f"the model failed on this image: {error}")]
        logger.warning(
            "batch of %d jobs failed: %s; the two halves of the batch are retried", len(jobs), error
        )
        half = len(jobs) // 2
        (scored, ended), (more_scored, more_ended) = self._run(jobs[:half]), self._run(jobs[half:])
        return scored + more_scored, ended + more_ended


def _log(jobs: Sequence[DecodedJob], inputs: int, seconds: float) -> None:
    requests, milliseconds = [job.claim.request_id or job.claim.job_id for job in jobs], seconds * 1000
    logger.info(
        "batch of %d jobs, %d inputs: %.1f ms, requests %s",
        *(len(jobs), inputs, milliseconds, ", ".join(requests)),
        extra={"jobs": len(jobs), "inputs": inputs, "infer_ms": round(milliseconds, 1), "requests": requests},
    )
