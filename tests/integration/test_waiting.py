"""Waiting for answers on a real server: lost replies, lost jobs, a server that goes and comes back."""

import threading
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from gateway import waiting
from gateway.waiting import JobLostError, ReplyListener, WaitTimeoutError
from shared.connection import connect
from shared.job import Options
from shared.queue import BULK, INTERACTIVE, Ending, JobQueue, Reply
from shared.settings import Settings
from tests.valkey import Valkey

ROOM = {INTERACTIVE: 32, BULK: 32}


@pytest.fixture
def listener(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> ReplyListener:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.5)
    return ReplyListener(queue, "classification:reply:test")


def ask(queue: JobQueue, listener: ReplyListener, job_id: str) -> None:
    listener.register(job_id)
    queue.submit(b"image", Options(), job_id=job_id, reply_to=listener.reply_to)


def answer(queue: JobQueue) -> None:
    claims = queue.claim("w1", ROOM, idle=True).jobs
    queue.settle("w1", [Ending(claim, Reply(claim.job_id, {"of": claim.job_id})) for claim in claims])


def test_each_waiter_gets_its_own_answer(queue: JobQueue, listener: ReplyListener) -> None:
    found: dict[str, Reply] = {}

    def one(name: str) -> None:
        found[name] = listener.wait(name, 10)

    names = [f"job{i}" for i in range(8)]
    for name in names:
        ask(queue, listener, name)
    threads = [threading.Thread(target=one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    answer(queue)
    for thread in threads:
        thread.join()
    assert {name: reply.result for name, reply in found.items()} == {name: {"of": name} for name in names}


def test_an_answer_before_the_wait_is_kept(queue: JobQueue, listener: ReplyListener) -> None:
    ask(queue, listener, "early")
    answer(queue)
    time.sleep(0.3)
    assert listener.wait("early", 5).result == {"of": "early"}


def test_no_answer_in_time_is_a_timeout_and_leaves_nothing(queue: JobQueue, listener: ReplyListener) -> None:
    ask(queue, listener, "slow")
    with pytest.raises(WaitTimeoutError):
        listener.wait("slow", 0.1)
    listener.forget("slow")
    assert listener._waiters == {}


def test_a_lost_reply_is_looked_up(queue: JobQueue, listener: ReplyListener, redis: Redis) -> None:
    ask(queue, listener, "a")
    claims = queue.claim("w1", ROOM, idle=True).jobs
    redis.hset("rq:job:a", "reply_to", "")
    lost = [Ending(claim, Reply("a", {"of": "a"})) for claim in claims]
    lost = [
        ending._replace(claim=ending.claim.__class__(**{**vars(ending.claim), "reply_to": ""}))
        for ending in lost
    ]
    queue.settle("w1", lost)
    assert redis.llen(listener.reply_to) == 0
    assert listener.wait("a", 10).result == {"of": "a"}


def test_a_job_that_redis_lost_is_told_soon(queue: JobQueue, listener: ReplyListener, redis: Redis) -> None:
    ask(queue, listener, "a")
    redis.delete("rq:job:a")
    start = time.monotonic()
    with pytest.raises(JobLostError):
        listener.wait("a", 30)
    assert time.monotonic() - start < 10


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    server = Valkey()
    yield server
    server.remove()


def test_waiters_outlast_a_restart_of_redis(own_valkey: Valkey) -> None:
    queue = JobQueue(connect(own_valkey.url), Settings(job_lease=2.0))
    listener = ReplyListener(queue, "classification:reply:test")
    ask(queue, listener, "a")
    threading.Timer(
        0.3, lambda: (time.sleep(1.2), own_valkey.stop(), own_valkey.start(), answer(queue))
    ).start()
    assert listener.wait("a", 30).result == {"of": "a"}
