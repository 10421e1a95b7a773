"""Tests that a malformed record, written by anyone with access to Redis, never affects other jobs."""

import math
from collections.abc import Callable

import pytest
from redis import Redis

from shared.job import Options
from shared.queue.messages import Claim, NewJob
from shared.settings import Settings
from tests.integration.test_queue import die, good, ids, submit, take
from tests.job_queue import JobQueue

INVALID_NUMBERS = ("", "x", "nan", "inf", "-1", "1.5", "9" * 400)
FIELDS = (
    *("status", "origin", "inputs", "retries_left", "attempts", "bytes", "submitted", "deadline"),
    *("data", "request_id", "reply_to", "owner", "webhook", "digest", "leader", "enqueued_at"),
)
KEYS = (
    "rq:job:malformed",
    "image:malformed",
    "rq:executions:malformed",
    "rq:results:malformed",
    "classification:followers:malformed",
)

Tamper = Callable[[Redis], object]


def wrong_type(key: str) -> Tamper:
    """Return a function that replaces the key by a value of another Redis type."""

    def tamper(redis: Redis) -> None:
        is_text = redis.type(key) == b"string"
        redis.delete(key)
        redis.rpush(key, "x") if is_text else redis.set(key, "x")

    return tamper


def field(name: str, value: str) -> Tamper:
    return lambda redis: redis.hset("rq:job:malformed", name, value)


MALFORMED = (
    *(pytest.param(wrong_type(key), id=key) for key in KEYS),
    *(
        pytest.param(field(name, value), id=f"{name}={value[:4]}")
        for name in FIELDS
        for value in INVALID_NUMBERS
    ),
    pytest.param(lambda redis: redis.hdel("rq:job:malformed", *FIELDS[1:]), id="only a status"),
    pytest.param(field("reply_to", "rq:workers"), id="reply_to is no list"),
    pytest.param(field("webhook", '{"url":1,"function":"f","record":["a"]}'), id="incomplete webhook"),
    pytest.param(field("webhook", "[" * 5000), id="deeply nested webhook"),
)
every_malformed_record = pytest.mark.parametrize("tamper", MALFORMED)


@pytest.fixture
def queue(redis: Redis) -> JobQueue:
    """Submit jobs a, malformed, follower and b. The job malformed has an image too large for the scripts."""
    queue = JobQueue(redis, Settings(job_lease=60, result_cache_ttl=60))
    redis.sadd("rq:workers", "x")
    submit(queue, "a")
    for name in ("malformed", "follower"):
        queue.submit([NewJob(name, bytes(70_000), Options(), reply_to="replies", digest="m:1")])
    submit(queue, "b")
    return queue


def take_all(queue: JobQueue) -> list[Claim]:
    found = []
    while claims := take(queue, "w2"):
        found += claims
    return found


def neighbours_are_answered(queue: JobQueue, redis: Redis, claims: list[Claim]) -> bool:
    """Settle all claims together; return whether the jobs a and b are answered."""
    images = dict(zip(ids(claims), queue.images(claims), strict=True))
    settled = dict(zip(ids(claims), queue.settle("w2", [good(each) for each in claims], "m"), strict=True))
    messages = [queue.replies("replies") for _ in range(redis.llen("replies"))]
    replied = {reply.job_id for replies in messages for reply in replies}
    return all(
        images[name] == b"image of " + name.encode() and settled[name] and name in replied for name in "ab"
    )


@every_malformed_record
def test_neighbours_of_a_malformed_record_are_claimed_and_answered(
    queue: JobQueue, redis: Redis, tamper: Tamper
) -> None:
    tamper(redis)
    assert neighbours_are_answered(queue, redis, take_all(queue))
    assert redis.llen("rq:queue:interactive") == 0 or ids(take_all(queue)) == ["follower"]


@every_malformed_record
def test_a_record_that_becomes_malformed_while_it_runs_affects_no_other_job(
    queue: JobQueue, redis: Redis, tamper: Tamper
) -> None:
    claims = take_all(queue)
    tamper(redis)
    assert queue.renew("w2", claims) == set()
    assert neighbours_are_answered(queue, redis, claims)


@every_malformed_record
def test_neighbours_of_a_malformed_record_are_requeued_when_their_worker_dies(
    queue: JobQueue, redis: Redis, tamper: Tamper
) -> None:
    claims = take_all(queue)
    tamper(redis)
    redis.zadd("rq:wip:interactive", {"no execution": 0})
    die(redis)
    assert {*queue.reap()} >= {("a", "requeued"), ("b", "requeued")}
    assert queue.settle("w2", [good(each) for each in claims]) == [False] * len(claims)
    assert neighbours_are_answered(queue, redis, take_all(queue))
    assert redis.zcard("rq:wip:interactive") == 0


@every_malformed_record
def test_neighbours_of_a_malformed_record_are_given_back(
    queue: JobQueue, redis: Redis, tamper: Tamper
) -> None:
    claims = take_all(queue)
    tamper(redis)
    queue.give_back("w2", claims)
    assert neighbours_are_answered(queue, redis, take_all(queue))


@every_malformed_record
def test_a_malformed_record_is_looked_up_with_others(queue: JobQueue, redis: Redis, tamper: Tamper) -> None:
    tamper(redis)
    assert {"a", "b"} <= queue.states(["a", "malformed", "b"], positions=True).keys()
    assert not {"a", "b"} & queue.watch(["malformed", "a", "b"], "other")
    take(queue, interactive=1)  # the malformed job is next
    assert 0 <= queue.metrics().oldest_wait["interactive"] < math.inf
    queue.submit([NewJob("equal", b"x", Options(), digest="m:1")])
