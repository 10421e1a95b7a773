"""Waiting for answers on a real server: lost replies, lost jobs, a server that restarts."""

import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from redis import Redis

from gateway import reply_listener
from gateway.reply_listener import LOOKUP_SECONDS, PendingReply, ReplyListener
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
    monkeypatch.setattr(reply_listener, "LOOKUP_SECONDS", 0.5)
    return ReplyListener(queue, reply_list(uuid4().hex))


def ask(queue: JobQueue, listener: ReplyListener, job_id: str, pending: PendingReply | None = None) -> None:
    queue.submit([NewJob(job_id, b"image", Options(), reply_to=listener.reply_to)])
    if pending is not None:
        pending.mark_queued()


def answer(queue: JobQueue) -> None:
    claims = queue.claim("w1", ROOM, idle=True).jobs
    queue.settle("w1", [Settlement(claim, Reply(claim.job_id, {"of": claim.job_id})) for claim in claims])


def test_each_request_gets_its_own_reply(queue: JobQueue, listener: ReplyListener) -> None:
    found: dict[str, Reply] = {}

    def one(name: str) -> None:
        with listener.expect(name) as pending:
            ask(queue, listener, name, pending)
            assert pending.wait(10)
            found.update(pending.replies)

    names = [f"job{i}" for i in range(8)]
    threads = [threading.Thread(target=one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    while len(found) < 8:
        answer(queue)
    for thread in threads:
        thread.join()
    assert {name: reply.result for name, reply in found.items()} == {name: {"of": name} for name in names}


def test_requests_and_jobs_are_many_to_many(queue: JobQueue, listener: ReplyListener) -> None:
    with listener.expect("a") as first, listener.expect("a", "b") as second, listener.expect("b") as third:
        ask(queue, listener, "a")
        for pending in (first, second, third):
            pending.mark_queued()
        answer(queue)
        assert first.wait(5) and second.wait(5) and not third.wait(0.1)
        assert second.replies["a"].result == {"of": "a"}


def test_a_reply_before_the_wait_is_kept(queue: JobQueue, listener: ReplyListener) -> None:
    with listener.expect("early") as pending:
        ask(queue, listener, "early", pending)
        answer(queue)
        time.sleep(0.3)
        assert pending.wait(0) and pending.replies["early"].result == {"of": "early"}


def test_a_reply_that_arrives_before_its_job_is_marked_as_queued_waits(
    queue: JobQueue, listener: ReplyListener
) -> None:
    with listener.expect("a") as pending:
        ask(queue, listener, "a")
        answer(queue)
        assert not pending.wait(0.5)
        pending.mark_queued("hit")
        assert pending.wait(0) and pending.cache_outcome == "hit"


def test_a_timeout_leaves_nothing_behind(queue: JobQueue, listener: ReplyListener) -> None:
    with listener.expect("slow", "slower") as pending:
        ask(queue, listener, "slow", pending)
        assert not pending.wait(0.1)
    assert listener._pending == {}


def test_a_lost_reply_is_looked_up(queue: JobQueue, listener: ReplyListener, redis: Redis) -> None:
    with listener.expect("a") as pending:
        ask(queue, listener, "a", pending)
        redis.hset("rq:job:a", "reply_to", "")
        answer(queue)
        assert redis.llen(listener.reply_to) == 0
        assert pending.wait(10) and pending.replies["a"].result == {"of": "a"}


def test_the_loss_of_a_job_is_reported_soon(queue: JobQueue, listener: ReplyListener, redis: Redis) -> None:
    with listener.expect("a") as pending:
        ask(queue, listener, "a", pending)
        redis.delete("rq:job:a")
        assert pending.wait(10) and pending.lost == {"a"}


def test_a_job_that_is_not_queued_is_not_lost(listener: ReplyListener) -> None:
    with listener.expect("a") as pending:
        assert not pending.wait(LOOKUP_SECONDS + 1.5)
        pending.fail(ValueError("no"))
        assert pending.wait(0) and isinstance(pending.error, ValueError)


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    server = Valkey()
    yield server
    server.remove()


def test_requests_outlast_a_restart_of_redis(own_valkey: Valkey) -> None:
    queue = JobQueue(connect(own_valkey.url), Settings(job_lease=2.0))
    listener = ReplyListener(queue, reply_list(uuid4().hex))
    with listener.expect("a") as pending:
        ask(queue, listener, "a", pending)
        threading.Timer(1.5, lambda: (own_valkey.stop(), own_valkey.start(), answer(queue))).start()
        assert pending.wait(30) and pending.replies["a"].result == {"of": "a"}


def test_replies_lost_with_the_connection_are_looked_up_at_once(
    own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_listener, "LOOKUP_SECONDS", 1000.0)
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
