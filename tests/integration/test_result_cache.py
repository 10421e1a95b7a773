"""Tests that equal jobs share one run or a stored answer, and that every waiting job ends."""

import dataclasses
import time

import pytest
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer

from shared.job import JobFailure, Options
from shared.queue import BULK, INTERACTIVE
from shared.queue.messages import Claim, NewJob, QueueFull, Reply, Settlement
from shared.queue.wire import digest
from shared.settings import Settings
from tests.job_queue import JobQueue

ROOM = {INTERACTIVE: 32, BULK: 32}
SERVED = {"id": "m", "fingerprint": "f" * 64, "thresholds": "t" * 64}
EQUAL = digest(b"image", Options(), SERVED)


@pytest.fixture
def queue(redis: Redis, settings: Settings) -> JobQueue:
    return JobQueue(redis, dataclasses.replace(settings, result_cache_ttl=60))


def submit(queue: JobQueue, *names: str, queue_name: str = BULK) -> list[str]:
    jobs = [NewJob(name, b"image", Options(), "", "replies", digest=EQUAL) for name in names]
    return queue.submit(jobs, queue_name).cache


def take(queue: JobQueue) -> list[Claim]:
    return queue.claim("w1", ROOM, idle=True).jobs


def run(queue: JobQueue, failure: JobFailure | None = None, model: str = "m") -> list[str]:
    """Run the waiting jobs as a worker would; return their ids."""
    claims = take(queue)
    replies = [Reply(c.job_id, None if failure else {"answer": 1}, failure, {"infer": 2.0}) for c in claims]
    queue.settle("w1", [Settlement(c, reply) for c, reply in zip(claims, replies, strict=True)], model)
    return [claim.job_id for claim in claims]


def statuses(queue: JobQueue, *names: str) -> list[str]:
    return [queue.states(names)[name].status for name in names]


def nothing_waits(redis: Redis) -> bool:
    return not redis.keys("image:*") and not redis.keys("rq:deferred:*") and not redis.keys("*:followers:*")


def test_equal_jobs_in_flight_share_one_run(queue: JobQueue, redis: Redis) -> None:
    assert submit(queue, "a", "b") == ["stored", "collapsed"]
    assert submit(queue, "c") == ["collapsed"]
    assert redis.get("classification:bytes") == b"5" and len(redis.keys("image:*")) == 1
    assert statuses(queue, "a", "b", "c") == ["queued"] * 3
    assert run(queue) == ["a"]
    assert statuses(queue, "a", "b", "c") == ["finished"] * 3
    replies = sorted((reply.job_id, reply.result) for reply in queue.replies("replies"))
    assert replies == [(name, {"answer": 1}) for name in "abc"]
    assert nothing_waits(redis)


def test_an_equal_job_joins_a_running_job(queue: JobQueue) -> None:
    submit(queue, "a")
    (claim,) = take(queue)
    assert submit(queue, "b", queue_name=INTERACTIVE) == ["collapsed"]
    queue.settle("w1", [Settlement(claim, Reply("a", {"answer": 1}))], "m")
    assert statuses(queue, "b") == ["finished"]


def test_a_later_equal_job_is_answered_at_once(queue: JobQueue, redis: Redis) -> None:
    submit(queue, "a")
    run(queue)
    queue.replies("replies")
    assert submit(queue, "b") == ["hit"]
    (reply,) = queue.replies("replies")
    assert (reply.job_id, reply.result) == ("b", {"answer": 1})
    state = queue.states(["b"])["b"]
    assert (state.status, state.cache, state.reply and state.reply.result) == (
        "finished",
        "hit",
        {"answer": 1},
    )
    assert Job.fetch("b", connection=redis, serializer=JSONSerializer).get_status() == "finished"
    assert take(queue) == [] and nothing_waits(redis)
    assert 50 < redis.ttl(f"classification:result:{EQUAL}") <= 60


def test_stored_answers_are_returned_even_if_the_queue_is_full(queue: JobQueue) -> None:
    submit(queue, "a")
    run(queue)
    queue.submit([NewJob(f"other{i}", b"x", Options()) for i in range(8)])
    assert submit(queue, "b", queue_name=INTERACTIVE) == ["hit"]


def test_jobs_that_wait_for_an_equal_job_count_as_waiting(queue: JobQueue) -> None:
    submit(queue, *"abcdefgh", queue_name=INTERACTIVE)
    with pytest.raises(QueueFull, match="8 jobs wait"):
        submit(queue, "i", queue_name=INTERACTIVE)


@pytest.mark.parametrize(
    "other",
    [
        digest(b"imagf", Options(), SERVED),
        digest(b"image", Options(top_n=4), SERVED),
        digest(b"image", Options(), SERVED | {"fingerprint": "e" * 64}),
        digest(b"image", Options(), SERVED | {"thresholds": "e" * 64}),
        "",
    ],
)
def test_a_different_job_runs(queue: JobQueue, other: str) -> None:
    submit(queue, "a")
    assert queue.submit([NewJob("b", b"image", Options(), digest=other)]).cache == ["stored" if other else ""]


def test_an_answer_from_another_model_is_not_stored(queue: JobQueue) -> None:
    submit(queue, "a")
    run(queue, model="another")
    assert submit(queue, "b") == ["stored"]


def test_no_answer_is_stored_while_the_cache_is_off(redis: Redis, settings: Settings) -> None:
    queue = JobQueue(redis, settings)
    submit(queue, "a")
    run(queue)
    assert not redis.keys("classification:result:*")


def test_a_failure_is_shared_but_not_stored(queue: JobQueue) -> None:
    submit(queue, "a", "b")
    run(queue, JobFailure("image-damaged", "no"))
    assert statuses(queue, "a", "b") == ["failed", "failed"]
    assert submit(queue, "c") == ["stored"]


def test_an_interactive_job_does_not_wait_for_a_queued_bulk_job(queue: JobQueue) -> None:
    submit(queue, "bulk")
    assert submit(queue, "phone", queue_name=INTERACTIVE) == ["stored"]
    assert submit(queue, "another", queue_name=INTERACTIVE) == ["collapsed"]
    assert run(queue) == ["phone"]
    assert statuses(queue, "phone", "another", "bulk") == ["finished", "finished", "queued"]


@pytest.mark.parametrize("why", ["canceled", "expired"])
def test_the_first_follower_replaces_a_canceled_or_expired_job(
    queue: JobQueue, redis: Redis, why: str
) -> None:
    submit(queue, "a", "b", "c", "d")
    if why == "canceled":
        assert queue.cancel("a") == "canceled" == queue.cancel("b")
    else:
        assert run(queue, JobFailure("expired", "too late")) == ["a"]
        assert queue.cancel("b") == "canceled"
    assert statuses(queue, "a", "b", "c", "d") == [why, "canceled", "queued", "queued"]
    assert redis.get("classification:bytes") == b"5"
    assert submit(queue, "e") == ["collapsed"]
    (claim,) = take(queue)
    assert claim.job_id == "c" and queue.images([claim]) == [b"image"]
    queue.settle("w1", [Settlement(claim, Reply("c", {"answer": 1}))], "m")
    assert statuses(queue, "c", "d", "e") == ["finished"] * 3
    assert redis.get("classification:bytes") == b"0" and nothing_waits(redis)


@pytest.mark.parametrize("way", ["cancel", "delete"])
def test_no_follower_is_lost_when_rqs_tools_remove_a_job(queue: JobQueue, redis: Redis, way: str) -> None:
    submit(queue, "a", "b", "c")
    job = Job.fetch("a", connection=redis, serializer=JSONSerializer)
    job.cancel() if way == "cancel" else job.delete()
    assert take(queue) == []
    queue.reap()
    assert run(queue) == ["b"]
    assert statuses(queue, "b", "c") == ["finished", "finished"]


@pytest.mark.parametrize("why", ["finished", "canceled"])
def test_thousands_of_followers_end_with_their_job_or_continue_without_it(redis: Redis, why: str) -> None:
    queue = JobQueue(redis, Settings(result_cache_ttl=60, bulk_queue_size=20_000))
    names = [f"j{n}" for n in range(9000)]
    for start in range(0, len(names), 1000):
        submit(queue, *names[start : start + 1000])
    if why == "canceled":
        assert queue.cancel("j0") == "canceled"
    assert len(run(queue)) == 1
    assert redis.zcard("rq:finished:bulk") == (9000 if why == "finished" else 8999)
    assert sum(len(queue.replies("replies")) for _ in range(redis.llen("replies"))) == 9000
    assert nothing_waits(redis)
    assert redis.get("classification:bytes") == b"0"


def test_followers_end_although_the_worker_of_their_job_died(queue: JobQueue, redis: Redis) -> None:
    submit(queue, "a", "b")
    take(queue)
    redis.zadd("rq:wip:bulk", {redis.zrange("rq:wip:bulk", 0, 0)[0]: time.time() - 1})
    assert queue.reap() == [("a", "requeued")]
    assert run(queue) == ["a"]
    assert statuses(queue, "a", "b") == ["finished", "finished"]
