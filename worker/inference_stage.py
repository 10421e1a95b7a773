"""The worker's inference stage: runs the model on the images of many jobs at once."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.queue.messages import Claim, Settlement
from worker.leased_jobs import LeasedJobs
from worker.next_batch import DecodedJob, NextBatch
from worker.running_batches import RunningBatches, RunTimes
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


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """The jobs of a batch: those with scores, and those that failed."""

    scored: list[ScoredJob] = field(default_factory=list)
    failed: list[Settlement] = field(default_factory=list)


@dataclass
class Throughput:
    """Speed of the busy model in jobs per second, as a moving average over the last batches.

    Several threads may use one object at once.
    """

    jobs_per_second: float
    _last_end: float = field(default=0.0, init=False)
    _updating: threading.Lock = field(default_factory=threading.Lock, init=False)

    def update(self, jobs: int, start: float, end: float) -> None:
        """Include a batch in the average speed.

        If batches overlap, `start` is the start of the oldest batch that was under way at `end`.

        If the pause before the batch was shorter than 50 ms, it counts as working time. A longer pause counts
        as idle time.
        """
        with self._updating:
            since = self._last_end if start - self._last_end < 0.05 else start
            seconds = max(end - since, 1e-6)
            # A batch that ends shortly after another batch would seem fast, so it has a small weight.
            weight = 0.2 * min(seconds / max(end - start, 1e-6), 1.0)
            self._last_end = max(end, self._last_end)
            self.jobs_per_second += weight * (jobs / seconds - self.jobs_per_second)


@dataclass(kw_only=True)
class InferenceStage:
    """Runs the model on one batch after another.

    Several threads may call `step` at once. Each thread then concatenates and runs its own batch, so the
    copies of one batch overlap with the run of another batch.
    """

    model: Model
    batch: NextBatch
    held: LeasedJobs
    throughput: Throughput
    metrics: WorkerMetrics
    reply: Callable[[BatchResult], None]
    is_device_lost: Callable[[Exception], bool]
    _running: RunningBatches = field(default_factory=RunningBatches)

    def hung(self, seconds: float) -> Sequence[Claim]:
        """Return the jobs of all batches on which the model is still running after more than `seconds`."""
        return self._running.longer_than(seconds)

    def step(self) -> bool:
        """Run the model on the next batch; return False if there will be no more batches.

        Raises:
            Exception: the device is lost, so no job of the batch has a result.
        """
        taken = self.batch.take()
        if not taken:
            return False
        try:
            self._score(taken)
        finally:
            self.batch.finish()
        return True

    def _score(self, taken: Sequence[DecodedJob]) -> None:
        lost = [job.claim for job in taken if self.held.is_lost(job.claim)]
        jobs = [job for job in taken if job.claim not in lost]
        self.metrics.count_late(lost)
        self.held.remove(lost)
        if jobs:
            self.metrics.count_started(jobs, time.monotonic())
            self.reply(self._run(jobs))

    def _run(self, jobs: Sequence[DecodedJob]) -> BatchResult:
        inputs = sum(len(job.pixels) for job in jobs)
        self._running.begin(jobs)
        try:
            scores = self.model.run(np.concatenate([job.pixels for job in jobs]))
        except Exception as error:
            self._end_run(inputs)
            if self.is_device_lost(error):
                raise
            return self._isolate(jobs, error)
        times = self._end_run(inputs)
        self.throughput.update(len(jobs), times.first, times.end)
        self.metrics.count_answered(jobs, times.end)
        _log(jobs, inputs, times.seconds)
        rows = np.split(scores, np.cumsum([len(job.pixels) for job in jobs])[:-1])
        pairs = zip(jobs, rows, strict=True)
        return BatchResult(scored=[ScoredJob(job, row, times.start, times.seconds) for job, row in pairs])

    def _end_run(self, inputs: int) -> RunTimes:
        times = self._running.end()
        self.metrics.count_run(inputs, times.seconds, times.busy_seconds)
        return times

    def _isolate(self, jobs: Sequence[DecodedJob], error: Exception) -> BatchResult:
        """Run the model separately on each half of a failed batch.

        This is repeated until only the job that causes the error fails.
        """
        if len(jobs) == 1:
            claim = jobs[0].claim
            logger.exception("job %s: the model failed", claim.job_id)
            detail = f"the model failed on this image: {reason(error)}"
            return BatchResult(failed=[Settlement.failed(claim, "model-failed", detail)])
        logger.warning(
            "batch of %d jobs failed: %s; the two halves of the batch are retried", len(jobs), reason(error)
        )
        half = len(jobs) // 2
        first, second = self._run(jobs[:half]), self._run(jobs[half:])
        return BatchResult(scored=first.scored + second.scored, failed=first.failed + second.failed)


def reason(error: Exception) -> str:
    """Return an exception's message on one line of at most 300 characters, or its type if it has no message.

    TensorFlow's messages about memory have many lines.
    """
    return " ".join(str(error).split())[:300] or type(error).__name__


def _log(jobs: Sequence[DecodedJob], inputs: int, seconds: float) -> None:
    requests, milliseconds = [job.claim.request_id or job.claim.job_id for job in jobs], seconds * 1000
    logger.info(
        "batch of %d jobs, %d inputs: %.1f ms, requests %s",
        *(len(jobs), inputs, milliseconds, ", ".join(requests)),
        extra={"jobs": len(jobs), "inputs": inputs, "infer_ms": round(milliseconds, 1), "requests": requests},
    )
