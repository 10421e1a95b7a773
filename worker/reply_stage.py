"""Stages four and five: decide, and write the answers back."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from shared.queue.messages import Reply, Settlement
from shared.queue.worker_client import WorkerQueue
from worker.decide import Decider
from worker.inference_stage import Scored
from worker.leased_jobs import LeasedJobs
from worker.redis_retry import RedisRetry
from worker.worker_metrics import WorkerMetrics

logger = logging.getLogger(__name__)

Work = tuple[list[Scored], list[Settlement]]


@dataclass(frozen=True)
class ReplyStage:
    """Turns scores into answers and settles the jobs, while the model runs the next batch.

    `identity` is added to each result: which model and which thresholds gave it. `serves` is the id of what
    the worker published.
    """

    worker: str
    queue: WorkerQueue
    held: LeasedJobs
    decider: Decider
    identity: dict[str, str]
    serves: str
    patience: RedisRetry
    figures: WorkerMetrics
    _work: SimpleQueue[Work | None] = field(default_factory=SimpleQueue)

    def put(self, scored: list[Scored], ended: list[Settlement]) -> None:
        """Hand over jobs: with scores, or ended without."""
        self._work.put((scored, ended))

    def close(self) -> None:
        """No more jobs will be handed over."""
        self._work.put(None)

    def step(self) -> bool:
        """Settle what was handed over; False once there will be no more."""
        work = self._work.get()
        if work is None:
            return False
        scored, ended = work
        for ending in ended:
            _log(ending)
        self._settle([self._end(each) for each in scored] + ended)
        return True

    def _settle(self, endings: Sequence[Settlement]) -> None:
        try:
            # A repeated settle changes nothing: the lease is gone after the first.
            written = self.patience.insist(lambda: self.queue.settle(self.worker, endings, self.serves))
            self.figures.late(each.claim for each, was in zip(endings, written, strict=True) if not was)
        finally:
            self.held.drop(ending.claim for ending in endings)

    def _end(self, job: Scored) -> Settlement:
        claim = job.prepared.claim
        try:
            result = self.decider.decide(job.scores, job.prepared.options)
        except ValueError as error:
            return Settlement.failed(claim, "model-failed", str(error))
        waited, decoded = job.prepared.seconds_waited(job.started), job.prepared.decode_seconds
        timing = {"queue": waited, "decode": decoded, "infer": job.infer_seconds}
        milliseconds = {stage: round(seconds * 1000, 2) for stage, seconds in timing.items()}
        return Settlement(claim, Reply(claim.job_id, {**result, **self.identity}, timing=milliseconds))


def _log(ending: Settlement) -> None:
    """A line for a job that has no answer."""
    claim, failure = ending.claim, ending.reply.failure
    if failure is not None:
        logger.warning(
            "job %s has no answer, %s: %s; request %s",
            *(claim.job_id, failure.code, failure.detail, claim.request_id),
            extra={"job": claim.job_id, "code": failure.code, "requests": [claim.request_id]},
        )
