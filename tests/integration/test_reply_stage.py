"""The worker's reply stage on a real Redis server."""

import numpy as np
import pytest
from redis import Redis

from tests.integration.test_queue import submit, take
from tests.job_queue import JobQueue
from worker.decide import Decider
from worker.inference_stage import BatchResult, ScoredJob
from worker.leased_jobs import LeasedJobs
from worker.next_batch import DecodedJob
from worker.redis_retry import RedisRetry
from worker.reply_stage import ReplyStage
from worker.worker_metrics import WorkerMetrics

PIXELS = np.zeros((1, 2, 2, 3), np.uint8)


def make_stage(queue: JobQueue, held: LeasedJobs, metrics: WorkerMetrics, **identity: str) -> ReplyStage:
    return ReplyStage(
        worker="w1",
        queue=queue,
        held=held,
        decider=Decider(("x", "y"), {}, 0.0),
        identity=identity,
        description_id="m",
        retry=RedisRetry(),
        metrics=metrics,
    )


def test_a_late_result_is_discarded_and_logged(
    queue: JobQueue, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    submit(queue, "a", "b")
    held, sent = LeasedJobs(), {}
    first, second = take(queue, interactive=1) + take(queue)
    held.add([first, second])
    redis.zadd("rq:wip:interactive", {f"a:{first.execution}": 0})
    assert queue.reap() == [("a", "requeued")]
    metrics = WorkerMetrics()
    stage = make_stage(queue, held, metrics)
    scores = np.array([[0.1, 0.9]], np.float32)
    decoded = [DecodedJob(each, each.options(), PIXELS, 0.0) for each in (first, second)]
    stage.put(BatchResult(scored=[ScoredJob(each, scores, 0.0, 0.1) for each in decoded]))
    assert stage.step() and not held
    metrics.send(lambda _, amounts: sent.update(amounts))
    assert sent == {"late:interactive:": 1}
    assert "job a: attempt 1 discarded" in caplog.text and "job b" not in caplog.text
    assert queue.states(["a"])["a"].status == "queued"


def test_a_job_with_bad_scores_fails_alone(queue: JobQueue) -> None:
    submit(queue, "a", "b", "c")
    held, claims = LeasedJobs(), take(queue)
    held.add(claims)
    stage = make_stage(queue, held, WorkerMetrics(), model="ñ")
    decoded = [DecodedJob(each, each.options(), PIXELS, 0.0, each.job_id == "c") for each in claims]
    rows = [np.array([row], np.float32) for row in ([0.25, 0.75], [0.5, np.nan], [1.0, 0.0])]
    stage.put(BatchResult(scored=[ScoredJob(j, row, 0.0, 0.1) for j, row in zip(decoded, rows, strict=True)]))
    assert stage.step() and not held
    states = queue.states(["a", "b", "c"])
    replies = {name: states[name].reply for name in "abc"}
    assert replies["b"].failure.code == "model-failed" and replies["b"].failure.detail.endswith("nan or inf")
    for name, best in (("a", "y"), ("c", "x")):
        assert replies[name].result["regions"][0]["predictions"][0]["class"] == best
        assert replies[name].result.get("truncated", False) is (name == "c")
        assert replies[name].result["model"] == "ñ" and replies[name].timing["infer"] == 100.0
