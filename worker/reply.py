"""Stages four and five: decide, and write the answers back."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from shared.queue import JobQueue
from shared.records import Ending, Reply
from worker.decide import Decider
from worker.figures import Figures
from worker.held import Held
from worker.infer import Scored
from worker.patience import Patience

logger = logging.getLogger(__name__)

Work = tuple[list[Scored], list[Ending]]


@dataclass(frozen=True)
class Replier:
    """Turns scores into answers and settles the jobs, while the model runs the next batch.

    `identity` is added to each result: which model and which thresholds gave it. `serves` is the id of what
    the worker published.
    """

    worker: str
    queue: JobQueue
    held: Held
    decider: Decider
    identity: dict[str, str]
    serves: str
    patience: Patience
    figures: Figures
    _work: SimpleQueue[Work | None] = field(default_factory=SimpleQueue)

    def put(self, scored: list[Scored], ended: list[Ending]) -> None:
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

    def _settle(self, endings: Sequence[Ending]) -> None:
        try:
            # A repeated settle changes nothing: the lease is gone after the first.
            written = self.patience.insist(lambda: self.queue.settle(self.worker, endings, self.serves))
            self.figures.late(each.claim for each, was in zip(endings, written, strict=True) if not was)
        finally:
            self.held.drop(ending.claim for ending in endings)

    def _end(self, job: Scored) -> Ending:
        claim = job.prepared.claim
        try:
            result = self.decider.decide(job.scores, job.prepared.options)
        except ValueError as error:
            return Ending.failed(claim, "model-failed", str(error))
        waited, decoded = job.prepared.seconds_waited(job.started), job.prepared.decode_seconds
        timing = {"queue": waited, "decode": decoded, "infer": job.infer_seconds}
        milliseconds = {stage: round(seconds * 1000, 2) for stage, seconds in timing.items()}
        return Ending(claim, Reply(claim.job_id, {**result, **self.identity}, timing=milliseconds))


def _log(ending: Ending) -> None:
    """A line for a job that has no answer."""
    claim, failure = ending.claim, ending.reply.failure
    if failure is not None:
        logger.warning(
            "job %s has no answer, %s: %s; request %s",
            *(claim.job_id, failure.code, failure.detail, claim.request_id),
            extra={"job": claim.job_id, "code": failure.code, "requests": [claim.request_id]},
        )
