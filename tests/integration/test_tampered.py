"""A record that is odd, as another may have written it, stands in nobody's way, whatever is done with it."""

import math
from collections.abc import Callable

import pytest
from redis import Redis

from shared.job import Options
from shared.queue.messages import Claim, NewJob
from shared.settings import Settings
from tests.integration.test_queue import die, good, ids, submit, take
from tests.job_queue import JobQueue

NO_NUMBERS = ("", "x", "nan", "inf", "-1", "1.5", "9" * 400)
FIELDS = (
    *("status", "origin", "inputs", "retries_left", "attempts", "bytes", "submitted", "deadline"),
    *("data", "request_id", "reply_to", "owner", "webhook", "digest", "leader", "enqueued_at"),
)
KEYS = ("rq:job:odd", "image:odd", "rq:executions:odd", "rq:results:odd", "classification:followers:odd")

Tamper = Callable[[Redis], object]


def another_form(key: str) -> Tamper:
    """Something else stands where a record of ours should."""

    def tamper(redis: Redis) -> None:
        is_text = redis.type(key) == b"string"
        redis.delete(key)
        redis.rpush(key, "x") if is_text else redis.set(key, "x")

    return tamper


def field(name: str, value: str) -> Tamper:
    return lambda redis: redis.hset("rq:job:odd", name, value)


ODD = (
    *(pytest.param(another_form(key), id=key) for key in KEYS),
    *(pytest.param(field(name, value), id=f"{name}={value[:4]}") for name in FIELDS for value in NO_NUMBERS),
    pytest.param(lambda redis: redis.hdel("rq:job:odd", *FIELDS[1:]), id="a status alone"),
    pytest.param(field("reply_to", "rq:workers"), id="reply_to no list"),
    pytest.param(field("webhook", '{"url":1,"function":"f","record":["a"]}'), id="webhook of half a record"),
    pytest.param(field("webhook", "[" * 5000), id="webhook too deep"),
)
every_oddity = pytest.mark.parametrize("tamper", ODD)


@pytest.fixture
def queue(redis: Redis) -> JobQueue:
    """An odd job, with an image too large for the scripts and a follower, between two others."""
    queue = JobQueue(redis, Settings(job_lease=60, result_cache_ttl=60))
    redis.sadd("rq:workers", "x")
    submit(queue, "a")
    for name in ("odd", "follower"):
        queue.submit([NewJob(name, bytes(70_000), Options(), reply_to="replies", digest="m:1")])
    submit(queue, "b")
    return queue


def take_all(queue: JobQueue) -> list[Claim]:
    found = []
    while claims := take(queue, "w2"):
        found += claims
    return found


def are_answered(queue: JobQueue, redis: Redis, claims: list[Claim]) -> bool:
    """Whether the neighbours among the claims are, all settled together."""
    images = dict(zip(ids(claims), queue.images(claims), strict=True))
    settled = dict(zip(ids(claims), queue.settle("w2", [good(each) for each in claims], "m"), strict=True))
    messages = [queue.replies("replies") for _ in range(redis.llen("replies"))]
    told = {reply.job_id for replies in messages for reply in replies}
    return all(
        images[name] == b"image of " + name.encode() and settled[name] and name in told for name in "ab"
    )


@every_oddity
def test_neighbours_of_an_odd_record_are_claimed_and_answered(
    queue: JobQueue, redis: Redis, tamper: Tamper
) -> None:
    tamper(redis)
    assert are_answered(queue, redis, take_all(queue))
    assert redis.llen("rq:queue:interactive") == 0 or ids(take_all(queue)) == ["follower"]


@every_oddity
def test_a_record_that_becomes_odd_while_it_runs_hurts_no_other(
    queue: JobQueue, redis: Redis, tamper: Tamper
) -> None:
    claims = take_all(queue)
    tamper(redis)
    assert queue.renew("w2", claims) == set()
    assert are_answered(queue, redis, claims)


@every_oddity
def test_neighbours_of_an_odd_record_outlive_their_worker(
    queue: JobQueue, redis: Redis, tamper: Tamper
) -> None:
    claims = take_all(queue)
    tamper(redis)
    redis.zadd("rq:wip:interactive", {"no execution": 0})
    die(redis)
    assert {*queue.reap()} >= {("a", "again"), ("b", "again")}
    assert queue.settle("w2", [good(each) for each in claims]) == [False] * len(claims)
    assert are_answered(queue, redis, take_all(queue))
    assert redis.zcard("rq:wip:interactive") == 0


@every_oddity
def test_neighbours_of_an_odd_record_are_given_back(queue: JobQueue, redis: Redis, tamper: Tamper) -> None:
    claims = take_all(queue)
    tamper(redis)
    queue.give_back("w2", claims)
    assert are_answered(queue, redis, take_all(queue))


@every_oddity
def test_an_odd_record_is_looked_up_beside_others(queue: JobQueue, redis: Redis, tamper: Tamper) -> None:
    tamper(redis)
    assert {"a", "b"} <= queue.states(["a", "odd", "b"], positions=True).keys()
    assert not {"a", "b"} & queue.watch(["odd", "a", "b"], "other")
    take(queue, interactive=1)  # so that the odd one is the next
    assert 0 <= queue.metrics().oldest_wait["interactive"] < math.inf
    queue.submit([NewJob("equal", b"x", Options(), digest="m:1")])
