"""The queue in a moment, without a server; tests/integration/test_queue.py has the rest on a real one."""

import fakeredis
import pytest

from shared.job import Options, Region
from shared.queue import BULK, INTERACTIVE
from shared.queue.messages import NewJob, QueueFull, Reply, Settlement
from shared.settings import Settings
from tests.job_queue import JobQueue

ROOM = {INTERACTIVE: 32, BULK: 32}


@pytest.fixture
def queue() -> JobQueue:
    return JobQueue(fakeredis.FakeRedis(), Settings(queue_size=2))


def test_a_job_is_submitted_claimed_settled_and_looked_up(queue: JobQueue) -> None:
    options = Options(regions=(Region(1, 2, 3),), top_n=7, consolidate=True)
    queue.submit([NewJob("a", b"image", options, "request")], timeout=60)
    (claim,) = queue.claim("w1", ROOM, idle=True).jobs
    assert (claim.options(), claim.request_id, queue.images([claim])) == (options, "request", [b"image"])
    assert queue.settle("w1", [Settlement(claim, Reply("a", {"answer": 1}))]) == [True]
    state = queue.states(["a"])["a"]
    assert state.status == "finished" and state.reply == Reply("a", {"answer": 1})


def test_the_bound_is_held(queue: JobQueue) -> None:
    queue.submit([NewJob(name, b"x", Options()) for name in "ab"])
    with pytest.raises(QueueFull, match="2 jobs wait"):
        queue.submit([NewJob("c", b"x", Options())])
