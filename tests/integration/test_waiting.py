"""Waiting for answers on a real server: lost replies, lost jobs, a server that goes and comes back."""

import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from redis import Redis

from gateway import reply_listener
from gateway.reply_listener import LOOK_SECONDS, ReplyListener, Waiter
from shared.job import Options
from shared.queue import BULK, INTERACTIVE
from shared.queue.gateway_client import reply_list
from shared.queue.messages import NewJob, Reply, Settlement
from shared.redis_connection import connect
from shared.settings import Settings
from tests.job_queue import JobQueue
from tests.valkey import Valkey

ROOM = {INTERACTIVE: 32, BULK: 32}


@pytest.fixture
def listener(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> ReplyListener:
    monkeypatch.setattr(reply_listener, "LOOK_SECONDS", 0.5)
    return ReplyListener(queue, reply_list(uuid4().hex))


def ask(queue: JobQueue, listener: ReplyListener, job_id: str, waiter: Waiter | None = None) -> None:
    queue.submit([NewJob(job_id, b"image", Options(), reply_to=listener.reply_to)])
    if waiter is not None:
        waiter.queued()


def answer(queue: JobQueue) -> None:
    claims = queue.claim("w1", ROOM, idle=True).jobs
    queue.settle("w1", [Settlement(claim, Reply(claim.job_id, {"of": claim.job_id})) for claim in claims])


def test_each_waiter_gets_its_own_answer(queue: JobQueue, listener: ReplyListener) -> None:
    found: dict[str, Reply] = {}

    def one(name: str) -> None:
        with listener.expect(name) as waiter:
            ask(queue, listener, name, waiter)
            assert waiter.wait(10)
            found.update(waiter.replies)

    names = [f"job{i}" for i in range(8)]
    threads = [threading.Thread(target=one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    while len(found) < 8:
        answer(queue)
    for thread in threads:
        thread.join()
    assert {name: reply.result for name, reply in found.items()} == {name: {"of": name} for name in names}


def test_jobs_and_waiters_are_many_to_many(queue: JobQueue, listener: ReplyListener) -> None:
    with listener.expect("a") as first, listener.expect("a", "b") as second, listener.expect("b") as third:
        ask(queue, listener, "a")
        for waiter in (first, second, third):
            waiter.queued()
        answer(queue)
        assert first.wait(5) and second.wait(5) and not third.wait(0.1)
        assert second.replies["a"].result == {"of": "a"}


def test_an_answer_before_the_wait_is_kept(queue: JobQueue, listener: ReplyListener) -> None:
    with listener.expect("early") as waiter:
        ask(queue, listener, "early", waiter)
        answer(queue)
        time.sleep(0.3)
        assert waiter.wait(0) and waiter.replies["early"].result == {"of": "early"}


def test_a_reply_that_overtakes_the_news_that_its_job_was_queued_waits_for_it(
    queue: JobQueue, listener: ReplyListener
) -> None:
    with listener.expect("a") as waiter:
        ask(queue, listener, "a")
        answer(queue)
        assert not waiter.wait(0.5)
        waiter.queued("hit")
        assert waiter.wait(0) and waiter.cache == "hit"


def test_no_answer_in_time_leaves_nothing_behind(queue: JobQueue, listener: ReplyListener) -> None:
    with listener.expect("slow", "slower") as waiter:
        ask(queue, listener, "slow", waiter)
        assert not waiter.wait(0.1)
    assert listener._waiters == {}


def test_a_lost_reply_is_looked_up(queue: JobQueue, listener: ReplyListener, redis: Redis) -> None:
    with listener.expect("a") as waiter:
        ask(queue, listener, "a", waiter)
        redis.hset("rq:job:a", "reply_to", "")
        answer(queue)
        assert redis.llen(listener.reply_to) == 0
        assert waiter.wait(10) and waiter.replies["a"].result == {"of": "a"}


def test_a_job_that_redis_lost_is_told_soon(queue: JobQueue, listener: ReplyListener, redis: Redis) -> None:
    with listener.expect("a") as waiter:
        ask(queue, listener, "a", waiter)
        redis.delete("rq:job:a")
        assert waiter.wait(10) and waiter.lost == {"a"}


def test_a_job_that_is_not_queued_yet_is_not_lost(listener: ReplyListener) -> None:
    with listener.expect("a") as waiter:
        assert not waiter.wait(LOOK_SECONDS + 1.5)
        waiter.refuse(ValueError("no"))
        assert waiter.wait(0) and isinstance(waiter.refusal, ValueError)


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    server = Valkey()
    yield server
    server.remove()


def test_waiters_outlast_a_restart_of_redis(own_valkey: Valkey) -> None:
    queue = JobQueue(connect(own_valkey.url), Settings(job_lease=2.0))
    listener = ReplyListener(queue, reply_list(uuid4().hex))
    with listener.expect("a") as waiter:
        ask(queue, listener, "a", waiter)
        threading.Timer(1.5, lambda: (own_valkey.stop(), own_valkey.start(), answer(queue))).start()
        assert waiter.wait(30) and waiter.replies["a"].result == {"of": "a"}


def test_what_was_lost_with_the_connection_is_looked_up_at_once(
    own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_listener, "LOOK_SECONDS", 1000.0)
    queue = JobQueue(connect(own_valkey.url), Settings(job_lease=2.0))
    listener = ReplyListener(queue, reply_list(uuid4().hex))
    with listener.expect("answered") as answered, listener.expect("gone") as gone:
        ask(queue, listener, "answered", answered)
        own_valkey.client.hset("rq:job:answered", "reply_to", "")
        answer(queue)
        ask(queue, listener, "gone", gone)
        own_valkey.client.delete("rq:job:gone")
        own_valkey.stop()
        time.sleep(1)
        own_valkey.start()
        assert answered.wait(20) and answered.replies["answered"].result == {"of": "answered"}
        assert gone.wait(20) and gone.lost == {"gone"}
