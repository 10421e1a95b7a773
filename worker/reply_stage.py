"""The worker's last two stages: turn scores into answers, and write the answers to Redis."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from queue import SimpleQueue

import numpy as np

from shared.queue.messages import EncodedReply, Settlement
from shared.queue.worker_client import WorkerQueue
from worker.decide import Decider, to_json
from worker.inference_stage import BatchResult, ScoredJob
from worker.leased_jobs import LeasedJobs
from worker.redis_retry import RedisRetry
from worker.worker_metrics import WorkerMetrics

logger = logging.getLogger(__name__)

_TRUNCATED = ',"truncated":true'
"""The field of a result that marks an image of which a part is missing."""


@dataclass(frozen=True, kw_only=True)
class ReplyStage:
    """Turns scores into answers and writes the answers to Redis, while the model runs on the next batch.

    `identity` has the fingerprints of the model and of the thresholds, and the model's precision. These
    values are added to each result. `description_id` is the id of the model description that the worker
    published.
    """

    worker: str
    queue: WorkerQueue
    held: LeasedJobs
    decider: Decider
    identity: dict[str, str]
    description_id: str
    retry: RedisRetry
    metrics: WorkerMetrics
    _inbox: SimpleQueue[BatchResult | None] = field(default_factory=SimpleQueue)

    def put(self, result: BatchResult) -> None:
        """Pass the jobs of a batch to the reply stage."""
        self._inbox.put(result)

    def close(self) -> None:
        """Announce that the reply stage will receive no more jobs."""
        self._inbox.put(None)

    def step(self) -> bool:
        """Write the results of one call of `put` to Redis; return False if `close` was called instead."""
        result = self._inbox.get()
        if result is None:
            return False
        for settlement in result.failed:
            _log_failure(settlement)
        self._settle(self._answer(result.scored) + result.failed)
        return True

    def _settle(self, endings: Sequence[Settlement]) -> None:
        try:
            # A retry is harmless: a job is settled only once, because settling the job ends its lease.
            written = self.retry.call(lambda: self.queue.settle(self.worker, endings, self.description_id))
            self.metrics.count_late(each.claim for each, ok in zip(endings, written, strict=True) if not ok)
        finally:
            self.held.remove(each.claim for each in endings)

    def _answer(self, scored: Sequence[ScoredJob]) -> list[Settlement]:
        if not scored:
            return []
        try:
            results = self._results(scored)
        except ValueError as error:
            if len(scored) == 1:
                return [Settlement.failed(scored[0].job.claim, "model-failed", str(error))]
            # Only the jobs with bad scores fail.
            return [settlement for each in scored for settlement in self._answer([each])]
        return [_settlement(each, result) for each, result in zip(scored, results, strict=True)]

    def _results(self, scored: Sequence[ScoredJob]) -> list[str]:
        scores = np.concatenate([each.scores for each in scored])
        texts = self.decider.decide_batch(scores, [each.job.options for each in scored])
        marks = (_TRUNCATED if each.job.is_truncated else "" for each in scored)
        return [text.removesuffix("}") + mark + self._end for text, mark in zip(texts, marks, strict=True)]

    @cached_property
    def _end(self) -> str:
        """The last part of each result's JSON text: the fields of `identity` and the closing brace."""
        return "".join(f",{to_json(name)}:{to_json(value)}" for name, value in self.identity.items()) + "}"


def _settlement(scored: ScoredJob, result: str) -> Settlement:
    job = scored.job
    waited = job.seconds_waited(scored.started)
    seconds = {"queue": waited, "decode": job.decode_seconds, "infer": scored.infer_seconds}
    timing = {stage: round(each * 1000, 2) for stage, each in seconds.items()}
    return Settlement(job.claim, EncodedReply(result, timing))


def _log_failure(settlement: Settlement) -> None:
    claim, failure = settlement.claim, settlement.reply.failure
    if failure is not None:
        logger.warning(
            "job %s failed, %s: %s; request %s",
            *(claim.job_id, failure.code, failure.detail, claim.request_id),
            extra={"job": claim.job_id, "code": failure.code, "requests": [claim.request_id]},
        )
