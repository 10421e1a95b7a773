"""Waiting for answers on a real server: lost replies, lost jobs, a server that restarts."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from uuid import uuid4

import pytest
from redis import Redis

from gateway import inflight as inflight_module
from gateway.inflight import LOOKUP_SECONDS, InFlight, JobLost, TimedOut
from shared.job import Options
from shared.queue import BULK, INTERACTIVE
from shared.queue.gateway_client import reply_list
from shared.queue.messages import NewJob, QueueFull, Reply, Settlement
from shared.redis_connection import connect
from shared.settings import Settings
from tests.background import begin
from tests.job_queue import JobQueue
from tests.stack import eventually
from tests.valkey import Valkey

ROOM = {INTERACTIVE: 32, BULK: 32}


@pytest.fixture
def inflight(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> InFlight:
    monkeypatch.setattr(inflight_module, "LOOKUP_SECONDS", 0.5)
    return InFlight(queue, reply_list(uuid4().hex))


def new_job(inflight: InFlight, job_id: str) -> NewJob:
    return NewJob(job_id, b"image", Options(), reply_to=inflight.reply_to)


def ask(redis: Redis, inflight: InFlight, job_id: str) -> Future[Reply]:
    """Begin to run a job; return when the job is in Redis, and the gateway knows it."""
    running = begin(inflight.run, new_job(inflight, job_id), 60.0)
    eventually(lambda: redis.exists(f"rq:job:{job_id}"), 10, "the job is queued")
    time.sleep(0.2)
    return running


def answer(queue: JobQueue, room: dict[str, int] = ROOM) -> None:
    claims = queue.claim("w1", room, idle=True).jobs
    queue.settle("w1", [Settlement(claim, Reply(claim.job_id, {"of": claim.job_id})) for claim in claims])


def test_each_request_gets_its_own_reply(queue: JobQueue, inflight: InFlight) -> None:
    names = [f"job{i}" for i in range(8)]
    running = {name: begin(inflight.run, new_job(inflight, name), 10.0) for name in names}
    while not all(each.done() for each in running.values()):
        answer(queue)
    found = {name: each.result() for name, each in running.items()}
    assert {name: reply.result for name, reply in found.items()} == {name: {"of": name} for name in names}


def test_requests_and_jobs_are_many_to_many(queue: JobQueue, inflight: InFlight, redis: Redis) -> None:
    queue.submit([new_job(inflight, "a"), new_job(inflight, "b")])
    first, second, third = (begin(inflight.wait_for_any, ids, 30.0) for ids in ("a", "ab", "b"))
    time.sleep(0.5)
    assert not any(each.done() for each in (first, second, third))
    answer(queue, {INTERACTIVE: 1, BULK: 0})
    first.result(5), second.result(5)
    time.sleep(0.1)
    assert not third.done()
    answer(queue)
    third.result(5)


class EarlyAnswers(JobQueue):
    """A queue whose jobs are answered before the gateway knows that they are queued."""

    def submit_each(self, jobs: list[tuple[NewJob, float | None]]) -> list[str | QueueFull]:  # type: ignore[override]
        super().submit_each(jobs)
        answer(self)
        time.sleep(0.5)
        return ["hit"]


def test_a_reply_that_arrives_before_its_job_is_marked_as_queued_waits(
    redis: Redis, settings: Settings
) -> None:
    inflight = InFlight(EarlyAnswers(redis, settings), reply_list(uuid4().hex))
    running = begin(inflight.run, new_job(inflight, "early"), 10.0)
    time.sleep(0.4)
    assert not running.done()
    reply = running.result(10)
    assert reply.result == {"of": "early"} and reply.cache == "hit"


def test_a_timeout_leaves_nothing_behind(inflight: InFlight) -> None:
    with pytest.raises(TimedOut):
        begin(inflight.run, new_job(inflight, "slow"), 0.1).result(10)
    begin(inflight.wait_for_any, ["slow", "slower"], 0.1).result(10)
    assert inflight._pending == {}


def test_a_lost_reply_is_looked_up(queue: JobQueue, inflight: InFlight, redis: Redis) -> None:
    running = ask(redis, inflight, "a")
    redis.hset("rq:job:a", "reply_to", "")
    answer(queue)
    assert redis.llen(inflight.reply_to) == 0
    assert running.result(10).result == {"of": "a"}


def test_the_loss_of_a_job_is_reported_soon(inflight: InFlight, redis: Redis) -> None:
    running = ask(redis, inflight, "a")
    redis.delete("rq:job:a")
    assert isinstance(running.exception(10), JobLost)


class Refusing(JobQueue):
    """A queue that refuses jobs after more time than the gateway waits before it looks for lost jobs."""

    def submit_each(self, jobs: list[tuple[NewJob, float | None]]) -> list[str | QueueFull]:  # type: ignore[override]
        time.sleep(LOOKUP_SECONDS + 1.5)
        raise ValueError("no")


def test_a_job_that_is_not_queued_is_not_lost(redis: Redis, settings: Settings) -> None:
    inflight = InFlight(Refusing(redis, settings), reply_list(uuid4().hex))
    running = begin(inflight.run, new_job(inflight, "a"), 60.0)
    assert isinstance(running.exception(20), ValueError)


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    server = Valkey()
    yield server
    server.remove()


def test_requests_outlast_a_restart_of_redis(own_valkey: Valkey) -> None:
    queue = JobQueue(connect(own_valkey.url), Settings(job_lease=2.0))
    inflight = InFlight(queue, reply_list(uuid4().hex))
    running = ask(own_valkey.client, inflight, "a")
    threading.Timer(1.5, lambda: (own_valkey.stop(), own_valkey.start(), answer(queue))).start()
    assert running.result(30).result == {"of": "a"}


def test_replies_lost_with_the_connection_are_looked_up_at_once(
    own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inflight_module, "LOOKUP_SECONDS", 1000.0)
    queue = JobQueue(connect(own_valkey.url), Settings(job_lease=2.0))
    inflight = InFlight(queue, reply_list(uuid4().hex))
    answered = ask(own_valkey.client, inflight, "answered")
    own_valkey.client.hset("rq:job:answered", "reply_to", "")
    answer(queue)
    gone = ask(own_valkey.client, inflight, "gone")
    own_valkey.client.delete("rq:job:gone")
    own_valkey.stop()
    time.sleep(1)
    own_valkey.start()
    assert answered.result(20).result == {"of": "answered"}
    assert isinstance(gone.exception(20), JobLost)
