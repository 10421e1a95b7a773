"""The worker's last stage on a real server."""

import numpy as np
import pytest
from redis import Redis

from tests.integration.test_queue import submit, take
from tests.queue_sides import JobQueue
from worker.next_batch import DecodedJob
from worker.decide import Decider
from worker.inference_stage import Scored
from worker.leased_jobs import LeasedJobs
from worker.redis_retry import RedisRetry
from worker.reply_stage import ReplyStage
from worker.worker_metrics import WorkerMetrics

PIXELS = np.zeros((1, 2, 2, 3), np.uint8)


def test_a_result_that_comes_too_late_is_dropped_and_told(
    queue: JobQueue, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    submit(queue, "a", "b")
    held, sent = LeasedJobs(), {}
    first, second = take(queue, interactive=1) + take(queue)
    held.add([first, second])
    redis.zadd("rq:wip:interactive", {f"a:{first.execution}": 0})
    assert queue.reap() == [("a", "again")]
    figures = WorkerMetrics()
    replier = ReplyStage("w1", queue, held, Decider(("x", "y"), {}, 0.0), {}, "m", RedisRetry(), figures)
    scores = np.array([[0.1, 0.9]], np.float32)
    replier.put(
        [Scored(DecodedJob(each, each.options(), PIXELS, 0.0), scores, 0.0, 0.1) for each in (first, second)],
        [],
    )
    assert replier.step() and not held
    figures.send(lambda _, amounts: sent.update(amounts))
    assert sent == {"late:interactive:": 1}
    assert "job a: attempt 1 comes too late" in caplog.text and "job b" not in caplog.text
    assert queue.states(["a"])["a"].status == "queued"
