"""Stage three: the model runs once for the whole batch."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.queue.messages import Claim, Settlement
from worker.next_batch import DecodedJob, NextBatch
from worker.leased_jobs import LeasedJobs
from worker.worker_metrics import WorkerMetrics

logger = logging.getLogger(__name__)


class Model(Protocol):
    """What this stage needs of the engine."""

    @property
    def input_batch(self) -> int:
        """The most inputs in one run of the model."""

    def run(self, pixels: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """uint8 [n, height, width, channels] to scores [n, classes], in the same order."""


@dataclass(frozen=True)
class Scored:
    """A job with its scores, float32 [inputs, classes]; times in seconds."""

    prepared: DecodedJob
    scores: NDArray[np.float32]
    started: float
    infer_seconds: float


@dataclass
class Throughput:
    """How many jobs a second the model does when it has work, from the last batches."""

    jobs_per_second: float
    _last_end: float = field(default=0.0, init=False)

    def note(self, jobs: int, start: float, end: float) -> None:
        """Count a batch; a pause before it counts only when it was short, as between batches under load."""
        since = self._last_end if start - self._last_end < 0.05 else start
        self._last_end = end
        self.jobs_per_second += 0.2 * (jobs / max(end - since, 1e-6) - self.jobs_per_second)


class InferenceStage:
    """Runs the model over one batch after the other."""

    def __init__(
        self,
        model: Model,
        batch: NextBatch,
        held: LeasedJobs,
        pace: Throughput,
        figures: WorkerMetrics,
        reply: Callable[[list[Scored], list[Settlement]], None],
    ) -> None:
        self._model, self._batch, self._held, self._reply = model, batch, held, reply
        self._pace, self._figures = pace, figures
        self._running: tuple[float, Sequence[DecodedJob]] | None = None

    def hung(self, seconds: float) -> Sequence[Claim]:
        """The jobs that have been in the model for longer than `seconds`, if any."""
        running = self._running
        late = running is not None and time.monotonic() - running[0] > seconds
        return [each.claim for each in running[1]] if running and late else ()

    def step(self) -> bool:
        """Run the next batch; False once there will be none."""
        taken = self._batch.take()
        if not taken:
            return False
        wanted = [each for each in taken if not self._held.is_lost(each.claim)]
        lost = [each.claim for each in taken if self._held.is_lost(each.claim)]
        self._figures.late(lost)
        self._held.drop(lost)
        if wanted:
            self._figures.begin(wanted, time.monotonic())
            self._reply(*self._run(wanted))
        return True

    def _run(self, jobs: Sequence[DecodedJob]) -> tuple[list[Scored], list[Settlement]]:
        """Run jobs together; where the model raises, by halves, until only the guilty one fails."""
        inputs = sum(len(each.pixels) for each in jobs)
        start = time.monotonic()
        self._running = (start, jobs)
        try:
            scores = self._model.run(np.concatenate([each.pixels for each in jobs]))
        except Exception as error:
            self._figures.run(inputs, time.monotonic() - start)
            if len(jobs) == 1:
                logger.exception("the model failed on job %s", jobs[0].claim.job_id)
                return [], [
                    Settlement.failed(
                        jobs[0].claim, "model-failed", f"the model failed on this image: {error}"
                    )
                ]
            logger.warning("the model failed on a batch of %d jobs; running its halves: %s", len(jobs), error)
            half = len(jobs) // 2
            parts = [self._run(jobs[:half]), self._run(jobs[half:])]
            return [s for part in parts for s in part[0]], [e for part in parts for e in part[1]]
        finally:
            self._running = None
        end = time.monotonic()
        self._pace.note(len(jobs), start, end)
        self._figures.run(inputs, end - start)
        self._figures.answered(jobs, end)
        _log(jobs, inputs, end - start)
        ends = np.cumsum([len(each.pixels) for each in jobs])[:-1]
        rows = np.split(scores, ends)
        return [Scored(job, row, start, end - start) for job, row in zip(jobs, rows, strict=True)], []


def _log(jobs: Sequence[DecodedJob], inputs: int, seconds: float) -> None:
    requests = [each.claim.request_id or each.claim.job_id for each in jobs]
    logger.info(
        "batch of %d jobs, %d inputs: %.1f ms, requests %s",
        len(jobs),
        inputs,
        seconds * 1000,
        ", ".join(requests),
        extra={
            "jobs": len(jobs),
            "inputs": inputs,
            "infer_ms": round(seconds * 1000, 1),
            "requests": requests,
        },
    )
