"""Webhooks with a real sender process, a real Redis server and a receiver of our own."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from redis import Redis
from rq import Queue, Retry
from rq.job import Job
from rq.registry import ScheduledJobRegistry
from rq.serializers import JSONSerializer
from standardwebhooks import Webhook

from shared import webhook
from shared.job import JobFailure, Options
from shared.queue import BULK, INTERACTIVE
from shared.queue.messages import NewJob, Reply, Settlement
from shared.settings import Settings
from shared.webhook import Allowed, Forbidden
from tests.job_queue import JobQueue
from tests.stack import eventually
from tests.valkey import Valkey
from webhooks import deliver
from webhooks.__main__ import Delivery, Sender

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ROOM = {INTERACTIVE: 32, BULK: 32}


class Receiver(ThreadingHTTPServer):
    """Keeps what was posted; the path says what it answers: /500/200 at first 500, then 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, dict[str, str], str]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def at(self, path: str) -> list[tuple[str, dict[str, str], str]]:
        return [each for each in self.got if each[0] == path]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.got.append((self.path, {name.lower(): text for name, text in self.headers.items()}, body))
        words = [word for word in self.path.split("/") if word.isdecimal() or word == "hang"]
        word = words[min(len(self.server.at(self.path)), len(words)) - 1] if words else "200"
        if word == "hang":
            time.sleep(8)
            word = "200"
        self.send_response(int(word))
        if word == "302":
            self.send_header("Location", f"{self.server.url}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.shutdown()


def start(
    valkey: Valkey, program: Sequence[str] = ("-m", "webhooks"), **environ: str
) -> subprocess.Popen[bytes]:
    ours = {
        "REDIS_URL": valkey.url,
        "WEBHOOK_SECRET": SECRET,
        "WEBHOOK_ALLOW": "127.0.0.1",
        "WEBHOOK_WORKERS": "2",
    }
    return subprocess.Popen(
        [sys.executable, *program], env=os.environ | ours | environ, stderr=subprocess.PIPE
    )


@pytest.fixture
def sender(valkey: Valkey, redis: Redis) -> Iterator[subprocess.Popen[bytes]]:
    process = start(valkey)
    eventually(lambda: redis.scard("rq:workers:webhooks") == 2, 20, "two senders wait")
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, process.stderr and process.stderr.read()


def submit(queue: JobQueue, url: str, *names: str, digest: str = "") -> None:
    jobs = [NewJob(name, b"image", Options(), webhook=url, digest=digest) for name in names]
    queue.submit(jobs, BULK)


def enqueue(redis: Redis, url: str, *intervals: int, job_id: str = "x") -> Job:
    queue = Queue(webhook.QUEUE, connection=redis, serializer=JSONSerializer)
    retry = Retry(max=len(intervals), interval=list(intervals)) if intervals else None
    return queue.enqueue(webhook.FUNCTION, url, job_id, "{}", retry=retry, job_id=f"webhook-{job_id}")


def failed(job: Job) -> str:
    """Why a delivery failed for good."""
    eventually(lambda: job.get_status() == "failed", 20, "the delivery fails")
    return str(job.latest_result().exc_string)


def test_each_end_of_a_job_is_told_signed(
    queue: JobQueue, redis: Redis, receiver: Receiver, sender: object
) -> None:
    submit(queue, f"{receiver.url}/ends?of=jobs", "done", "bad", "gone")
    queue.cancel("gone")
    done, bad = queue.claim("w1", ROOM, idle=True).jobs
    failure = JobFailure("image-damaged", "a “damaged” image\n")
    queue.settle(
        "w1",
        [Settlement(done, Reply("done", {"class": "Ñandú"})), Settlement(bad, Reply("bad", None, failure))],
    )
    got = eventually(
        lambda: len(receiver.at("/ends?of=jobs")) == 3 and receiver.at("/ends?of=jobs"), 20, "3 posts"
    )
    messages = {}
    for _, headers, body in got:
        message = Webhook(SECRET).verify(body, headers)
        assert message["data"]["id"] == headers["webhook-id"]
        assert headers["host"] == receiver.url.removeprefix("http://")
        messages[message["data"]["id"]] = message
    assert {name: each["type"] for name, each in messages.items()} == {
        "done": "job.finished",
        "bad": "job.failed",
        "gone": "job.canceled",
    }
    assert (
        messages["done"]["data"]["result"] == {"class": "Ñandú"} and messages["done"]["data"]["error"] is None
    )
    assert messages["bad"]["data"]["error"] == failure.to_json() and messages["bad"]["data"]["result"] is None
    state = queue.states(["done"])["done"]
    for name in ("submitted_at", "started_at", "ended_at", "attempts"):
        assert messages["done"]["data"][name] == getattr(state, name)
    assert messages["gone"]["data"]["started_at"] is None


def test_jobs_that_died_expired_or_were_answered_for_another_are_told(
    redis: Redis, settings: Settings
) -> None:
    queue = JobQueue(redis, Settings(job_lease=1.0, job_max_attempts=1, result_cache_ttl=60))
    submit(queue, "http://8.8.8.8/", "a", "b", digest="m:equal")
    submit(queue, "http://8.8.8.8/", "c", "d")
    first, died, late = queue.claim("w1", ROOM, idle=True).jobs
    late_failure = JobFailure("expired", "too late")
    queue.settle(
        "w1", [Settlement(first, Reply("a", {})), Settlement(late, Reply("d", None, late_failure))], "m"
    )
    redis.zadd("rq:wip:bulk", {f"c:{died.execution}": 1})
    queue.reap()
    submit(queue, "http://8.8.8.8/", "e", digest="m:equal")
    waiting = [each.decode() for each in redis.lrange("rq:queue:webhooks", 0, -1)]
    assert sorted(waiting) == [f"webhook-{name}" for name in "abcde"]
    types = {}
    for job_id in waiting:
        _, message_id, body = Job.fetch(job_id, connection=redis, serializer=JSONSerializer).args
        types[message_id] = json.loads(body)["type"]
    assert types == {
        "a": "job.finished",
        "b": "job.finished",
        "c": "job.failed",
        "d": "job.expired",
        "e": "job.finished",
    }


def test_the_record_is_rqs_own(queue: JobQueue, redis: Redis) -> None:
    submit(queue, "https://example.com/hook", "ours")
    queue.cancel("ours")
    theirs = Queue(webhook.QUEUE, connection=redis, serializer=JSONSerializer).enqueue(
        webhook.FUNCTION,
        *("https://example.com/hook", "ours", "{}"),
        retry=Retry(max=len(webhook.RETRY_SECONDS), interval=list(webhook.RETRY_SECONDS)),
        job_timeout=webhook.TIMEOUT,
        result_ttl=3600,
        failure_ttl=86_400,
        description=webhook.RECORD["description"],
    )
    ours = Job.fetch("webhook-ours", connection=redis, serializer=JSONSerializer)
    assert ours.args[:2] == ("https://example.com/hook", "ours") or ours.args[:2] == [
        "https://example.com/hook",
        "ours",
    ]
    assert ours.kwargs == theirs.kwargs and ours.func_name == theirs.func_name
    for name in (
        "timeout",
        "result_ttl",
        "failure_ttl",
        "retries_left",
        "retry_intervals",
        "origin",
        "description",
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.get_status() == theirs.get_status() and type(ours.enqueued_at) is type(theirs.enqueued_at)
    assert redis.lrange("rq:queue:webhooks", 0, -1) == [b"webhook-ours", theirs.id.encode()]


def test_a_receiver_that_fails_is_told_again(redis: Redis, receiver: Receiver, sender: object) -> None:
    job = enqueue(redis, f"{receiver.url}/500/200", 1, 1)
    eventually(lambda: len(receiver.at("/500/200")) == 2, 30, "a second try")
    first, second = (headers for _, headers, _ in receiver.at("/500/200"))
    assert first["webhook-id"] == second["webhook-id"]
    eventually(lambda: job.get_status() == "finished", 10, "delivered")


def test_what_no_further_try_would_help_ends_at_once(
    redis: Redis, receiver: Receiver, sender: object
) -> None:
    gone = enqueue(redis, f"{receiver.url}/410", 1, job_id="gone")
    private = enqueue(redis, "http://192.168.0.1/", 1, job_id="private")
    assert "answered 410" in failed(gone)
    assert "WEBHOOK_ALLOW" in failed(private)
    assert len(receiver.at("/410")) == 1
    assert ScheduledJobRegistry(webhook.QUEUE, connection=redis).get_job_ids() == []


def test_a_redirect_is_not_followed(redis: Redis, receiver: Receiver, sender: object) -> None:
    assert "redirects are not followed" in failed(enqueue(redis, f"{receiver.url}/302"))
    assert receiver.at("/elsewhere") == []


def test_a_slow_receiver_holds_up_no_other(redis: Redis, receiver: Receiver, sender: object) -> None:
    enqueue(redis, f"{receiver.url}/hang", job_id="slow")
    eventually(lambda: receiver.at("/hang"), 10, "the slow one is busy")
    quick = enqueue(redis, f"{receiver.url}/quick", job_id="quick")
    eventually(lambda: quick.get_status() == "finished", 6, "the other message is delivered meanwhile")


def test_a_record_cannot_name_the_code_that_is_run(
    redis: Redis, receiver: Receiver, sender: object, tmp_path: object
) -> None:
    queue = Queue(webhook.QUEUE, connection=redis, serializer=JSONSerializer)
    mark = f"{tmp_path}/owned"
    foreign = queue.enqueue("os.mkdir", mark)
    ours = queue.enqueue(webhook.FUNCTION, f"{receiver.url}/callback", "m", "{}")
    redis.hset(ours.key, "success_callback_name", "os.mkdir")
    assert "invalid job record" in failed(foreign)
    eventually(lambda: receiver.at("/callback"), 10, "ours is run")
    assert not os.path.exists(mark)


def test_a_killed_senders_delivery_is_sent_again(redis: Redis, valkey: Valkey, receiver: Receiver) -> None:
    process = start(valkey, WEBHOOK_WORKERS="1")
    enqueue(redis, f"{receiver.url}/hang/200", 1)
    eventually(lambda: receiver.at("/hang/200"), 20, "a delivery is under way")
    (worker,) = redis.smembers("rq:workers:webhooks")
    os.kill(int(redis.hget(worker, "pid") or 0), signal.SIGKILL)
    (member,) = redis.zrange("rq:wip:webhooks", 0, -1)
    redis.zadd("rq:wip:webhooks", {member: 1})  # its time is over
    Sender(
        [webhook.QUEUE], connection=redis, serializer=JSONSerializer, job_class=Delivery
    ).clean_registries()
    eventually(lambda: len(receiver.at("/hang/200")) == 2, 30, "sent again")
    process.terminate()
    assert process.wait(30) == 0


HASTY = "import webhooks.__main__ as program; program.MAINTENANCE_SECONDS = 1; program.main()"


def test_a_delivery_is_found_that_a_sender_had_in_hand_when_it_lost_redis(
    redis: Redis, valkey: Valkey, receiver: Receiver
) -> None:
    enqueue(redis, f"{receiver.url}/in-hand", 1)
    in_hand = Queue(webhook.QUEUE, connection=redis).intermediate_queue
    redis.lmove("rq:queue:webhooks", in_hand.key, "LEFT", "RIGHT")
    process = start(valkey, program=("-c", HASTY), WEBHOOK_WORKERS="1")
    seen = in_hand.get_first_seen_key("webhook-x")
    try:
        eventually(lambda: redis.exists(seen), 20, "a sender has seen it")
        redis.set(seen, time.time() - 61)
        eventually(lambda: receiver.at("/in-hand"), 20, "it is sent, though nothing else is to do")
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_a_name_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*arguments: object, **options: object) -> list[object]:
        return [(2, 1, 6, "", (address, 0)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(Forbidden, match=r"10\.0\.0\.1"):
        deliver._resolve("rebinding.example", Allowed())


@pytest.mark.parametrize(
    ("environ", "reason"),
    [({"WEBHOOK_SECRET": ""}, "WEBHOOK_SECRET is not set"), ({"REDIS_URL": ""}, "REDIS_URL is not set")],
)
def test_a_sender_without_its_settings_ends_with_the_reason(
    valkey: Valkey, environ: dict[str, str], reason: str
) -> None:
    process = start(valkey, **environ)
    assert process.wait(20) == 2
    assert process.stderr is not None and reason in process.stderr.read().decode()
