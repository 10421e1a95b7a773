"""The worker's last stage on a real server."""

import numpy as np
import pytest
from redis import Redis

from shared.queue import JobQueue
from tests.integration.test_queue import submit, take
from worker.batch import Prepared
from worker.decide import Decider
from worker.figures import Figures
from worker.held import Held
from worker.infer import Scored
from worker.patience import Patience
from worker.reply import Replier

PIXELS = np.zeros((1, 2, 2, 3), np.uint8)


def test_a_result_that_comes_too_late_is_dropped_and_told(
    queue: JobQueue, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    submit(queue, "a", "b")
    held, sent = Held(), {}
    first, second = take(queue, interactive=1) + take(queue)
    held.add([first, second])
    redis.zadd("rq:wip:interactive", {f"a:{first.execution}": 0})
    assert queue.reap() == [("a", "again")]
    figures = Figures()
    replier = Replier("w1", queue, held, Decider(("x", "y"), {}, 0.0), {}, "m", Patience(), figures)
    scores = np.array([[0.1, 0.9]], np.float32)
    replier.put(
        [Scored(Prepared(each, each.options(), PIXELS, 0.0), scores, 0.0, 0.1) for each in (first, second)],
        [],
    )
    assert replier.step() and not held
    figures.send(lambda _, amounts: sent.update(amounts))
    assert sent == {"late:interactive:": 1}
    assert "job a: attempt 1 comes too late" in caplog.text and "job b" not in caplog.text
    assert queue.states(["a"])["a"].status == "queued"
