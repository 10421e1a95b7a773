"""The job API on a real queue: submit, poll, wait, cancel."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from gateway.front import Front
from shared.api_keys import parse_keys
from shared.job import JobFailure
from shared.queue import BULK, INTERACTIVE
from shared.queue.messages import Reply, Settlement
from shared.settings import Settings
from tests.asgi_client import AsgiClient
from tests.bad_input import encoded
from tests.integration.test_gateway import MODEL, RESULT, make, post, worker
from tests.job_queue import JobQueue

FIELDS = {
    "id",
    "status",
    "position",
    "estimated_wait",
    "submitted_at",
    "started_at",
    "ended_at",
    "attempts",
    "result",
    "error",
}


def submit(client, count: int = 1, **form: str):
    blobs = [(io.BytesIO(encoded()), f"{i}.jpg") for i in range(count)]
    return client.post("/jobs", data={"blob": blobs, **form})


def finish(redis: Redis, failure: JobFailure | None = None) -> None:
    queue = JobQueue(redis, Settings())
    for claim in queue.claim("w1", {INTERACTIVE: 32, BULK: 32}, idle=True).jobs:
        queue.settle("w1", [Settlement(claim, Reply(claim.job_id, None if failure else RESULT, failure))])


def test_a_submitted_job_is_polled_until_its_result(redis: Redis) -> None:
    client = make(redis)
    answer = submit(client)
    (job,) = answer.json["jobs"]
    assert answer.status_code == 202 and answer.headers["Location"] == job["href"] == f"/jobs/{job['id']}"
    before = client.get(job["href"]).json
    assert set(before) == FIELDS
    assert (before["status"], before["position"], before["attempts"]) == ("queued", 1, 0)
    finish(redis)
    after = client.get(job["href"]).json
    assert (after["status"], after["attempts"], after["error"]) == ("finished", 1, None)
    assert after["result"]["regions"] == RESULT["regions"]
    assert after["submitted_at"] <= after["started_at"] <= after["ended_at"]


def test_many_images_are_many_jobs_with_the_same_options(redis: Redis) -> None:
    client = make(redis)
    answer = submit(client, 3, regions="0,0,20", top_n="2")
    jobs = [job["id"] for job in answer.json["jobs"]]
    assert answer.headers["Location"] == "/jobs?ids=" + ",".join(jobs)
    assert [each["position"] for each in map(lambda j: client.get(f"/jobs/{j}").json, jobs)] == [1, 2, 3]
    claims = JobQueue(redis, Settings()).claim("w1", {INTERACTIVE: 32, BULK: 32}, idle=True).jobs
    assert [claim.job_id for claim in claims] == jobs
    assert all(claim.options().top_n == 2 and claim.options().regions for claim in claims)


def test_a_job_is_accepted_without_a_worker(redis: Redis) -> None:
    client = make(redis)
    redis.delete("classification:worker:w1")
    assert submit(client).status_code == 202


def test_a_request_that_does_not_fit_is_refused_as_a_whole(redis: Redis) -> None:
    client = make(redis, bulk_queue_size=4)
    assert submit(client, 3).status_code == 202
    answer = submit(client, 2)
    assert answer.status_code == 429 and int(answer.headers["Retry-After"]) >= 1
    assert redis.llen("rq:queue:bulk") == 3 == len(list(redis.scan_iter("image:*")))


def test_one_bad_image_of_many_is_named_and_none_is_queued(redis: Redis) -> None:
    client = make(redis)
    blobs = [(io.BytesIO(encoded()), "a"), (io.BytesIO(b"text"), "b")]
    answer = client.post("/jobs", data={"blob": blobs})
    assert answer.status_code == 415 and answer.json["errors"][0]["field"] == "blob 2"
    assert redis.llen("rq:queue:bulk") == 0


def test_more_images_than_a_request_may_have_are_refused(redis: Redis) -> None:
    answer = submit(make(redis, max_jobs_per_request=2), 3)
    assert answer.status_code == 413 and "3 images" in answer.json["detail"]


@pytest.mark.parametrize("bound", [{"bulk_queue_size": 2}, {"max_queue_bytes": 100}], ids=["jobs", "bytes"])
def test_more_than_the_queue_can_hold_is_413_and_not_429(redis: Redis, bound: dict[str, int]) -> None:
    answer = submit(make(redis, **bound), 3)
    assert answer.status_code == 413 and "Retry-After" not in answer.headers
    assert answer.json["errors"][0]["field"] == "blob"


def test_a_long_poll_ends_with_the_job(redis: Redis) -> None:
    client = make(redis)
    (job,) = submit(client).json["jobs"]
    threading.Timer(0.5, finish, [redis]).start()
    start = time.monotonic()
    assert client.get(f"{job['href']}?wait=30").json["status"] == "finished"
    assert 0.3 < time.monotonic() - start < 10


def test_a_long_poll_ends_with_its_time(redis: Redis) -> None:
    client = make(redis)
    (job,) = submit(client).json["jobs"]
    start = time.monotonic()
    assert client.get(f"{job['href']}?wait=0.4").json["status"] == "queued"
    assert 0.3 < time.monotonic() - start < 5


def test_many_are_polled_at_once_and_the_first_end_is_enough(redis: Redis) -> None:
    client = make(redis)
    first, second = (job["id"] for job in submit(client, 2).json["jobs"])
    queue = JobQueue(redis, Settings())

    def finish_one() -> None:
        (claim,) = queue.claim("w1", {INTERACTIVE: 0, BULK: 1}, idle=False).jobs
        queue.settle("w1", [Settlement(claim, Reply(claim.job_id, RESULT))])

    threading.Timer(0.4, finish_one).start()
    found = client.get(f"/jobs?ids={first},{second},nobody&wait=0").json["jobs"]
    assert [each["status"] for each in found] == ["queued", "queued", "unknown"]
    found = client.get(f"/jobs?ids={first},{second}&wait=30").json["jobs"]
    assert [each["status"] for each in found] == ["finished", "queued"]


def test_any_gateway_answers_for_any_job(redis: Redis) -> None:
    here, there = make(redis), make(redis)
    (job,) = submit(here).json["jobs"]
    threading.Timer(0.4, finish, [redis]).start()
    assert there.get(f"{job['href']}?wait=30").json["status"] == "finished"
    assert here.get(job["href"]).json["status"] == "finished"


def test_a_failed_job_has_its_reason(redis: Redis) -> None:
    client = make(redis)
    (job,) = submit(client).json["jobs"]
    finish(redis, JobFailure("image-damaged", "the image is damaged"))
    found = client.get(job["href"]).json
    assert found["status"] == "failed" and found["result"] is None
    assert found["error"] == {"code": "image-damaged", "detail": "the image is damaged"}


def test_a_synchronous_job_that_came_too_late_is_expired(redis: Redis) -> None:
    client = make(redis)
    with worker(redis, Reply("", failure=JobFailure("expired", "too late"))):
        client.post("/classify", data={"blob": (io.BytesIO(encoded()), "p.jpg")})
    (key,) = redis.scan_iter("rq:job:*")
    assert client.get(f"/jobs/{key.decode().removeprefix('rq:job:')}").json["status"] == "expired"


def test_a_waiting_job_is_canceled_and_others_are_not(redis: Redis) -> None:
    client = make(redis)
    (job,) = submit(client).json["jobs"]
    assert client.delete(job["href"]).json == {"id": job["id"], "status": "canceled"}
    assert client.get(job["href"]).json["status"] == "canceled"
    (other,) = submit(client).json["jobs"]
    finish(redis)
    answer = client.delete(other["href"])
    assert answer.status_code == 409 and "finished" in answer.json["detail"]


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/jobs/nobody", 404, "nobody"),
        ("/jobs/nobody?wait=1", 404, "nobody"),
        ("/jobs/nobody?wait=x", 400, "wait"),
        ("/jobs/nobody?wait=-1", 400, "wait"),
        ("/jobs/nobody?wait=56", 400, "wait"),
        ("/jobs/nobody?wait=61", 400, "wait"),
        ("/jobs/nobody?wait=nan", 400, "wait"),
        ("/jobs", 400, "ids"),
        ("/jobs?ids=" + "a," * 101, 400, "ids"),
        ("/jobs?ids=a,b/c", 400, "ids"),
        ("/jobs?ids=" + "a" * 65, 400, "ids"),
    ],
)
def test_wrong_parameters_get_their_reason(redis: Redis, path: str, status: int, word: str) -> None:
    answer = make(redis).get(path)
    assert answer.status_code == status and word in answer.json["detail"]


def test_nothing_stays_without_a_ttl(redis: Redis) -> None:
    client = make(redis)
    done, canceled = (submit(client).json["jobs"][0]["href"] for _ in range(2))
    client.delete(canceled)
    finish(redis)
    assert client.get(done).json["status"] == "finished"
    JobQueue(redis, Settings()).reap()
    kept = {key.decode() for key in redis.scan_iter() if redis.ttl(key) == -1}
    ours = {"rq:queues", "rq:workers:interactive", "classification:figures"}
    assert kept <= ours | {"rq:finished:bulk", "rq:canceled:bulk"}
    assert list(redis.scan_iter("image:*")) == []


def test_the_wait_is_estimated_from_the_measured_speed(redis: Redis) -> None:
    client = make(redis)  # its worker publishes 2 jobs per second
    jobs = submit(client, 5).json["jobs"]
    post(make(redis, request_timeout=0.1))
    assert [client.get(job["href"]).json["estimated_wait"] for job in jobs[::4]] == [0.5, 2.5]
    finish(redis)
    finish(redis)
    assert client.get(jobs[4]["href"]).json["estimated_wait"] is None


# -------------------------------------------------------------------- the same submission twice


def submit_under(client, key: str, count: int = 2, **form: str):
    blobs = [(io.BytesIO(encoded()), f"{i}.jpg") for i in range(count)]
    return client.post("/jobs", data={"blob": blobs, **form}, headers={"Idempotency-Key": key})


def test_fifty_equal_submissions_at_once_make_one_set_of_jobs(redis: Redis) -> None:
    app = make(redis).front
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: submit_under(AsgiClient(app), "one key"), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 49
    assert redis.llen("rq:queue:bulk") == 2 == len(redis.keys("image:*")) == len(redis.keys("rq:job:*"))


def test_a_repeated_submission_returns_the_current_statuses(redis: Redis) -> None:
    client = make(redis)
    first = submit_under(client, "k").json["jobs"]
    finish(redis)
    again = submit_under(client, "k").json["jobs"]
    assert [job["id"] for job in again] == [job["id"] for job in first]
    assert [job["status"] for job in again] == ["finished", "finished"]


@pytest.mark.parametrize("other", [{"count": 1}, {"top_n": "3"}, {"regions": "0,0,9"}])
def test_another_form_under_a_used_key_is_a_conflict(redis: Redis, other: dict[str, object]) -> None:
    client = make(redis)
    assert submit_under(client, "k").status_code == 202
    answer = submit_under(client, "k", **other)
    assert answer.status_code == 409 and "Idempotency-Key" in answer.json["detail"]
    assert redis.llen("rq:queue:bulk") == 2 == len(redis.keys("image:*"))


def test_a_key_is_free_again_when_its_jobs_are_gone(redis: Redis) -> None:
    client = make(redis)
    (first,) = submit_under(client, "k", 1).json["jobs"]
    redis.delete(f"rq:job:{first['id']}")
    (second,) = submit_under(client, "k", 1).json["jobs"]
    assert second["id"] != first["id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "naïve"])
def test_an_invalid_idempotency_key_is_refused(redis: Redis, key: str) -> None:
    answer = submit_under(make(redis), key)
    assert answer.status_code == 400 and "Idempotency-Key" in answer.json["detail"]


# -------------------------------------------------------------------- equal requests


def test_equal_images_are_run_once_and_the_answers_have_a_cache_status(redis: Redis) -> None:
    client = make(redis, result_cache_ttl=60)
    first, second = submit(client, 2).json["jobs"]
    queue = JobQueue(redis, Settings(result_cache_ttl=60))
    (claim,) = queue.claim("w1", {INTERACTIVE: 32, BULK: 32}, idle=True).jobs
    queue.settle("w1", [Settlement(claim, Reply(claim.job_id, RESULT))], MODEL["id"])
    found = [client.get(job["href"]).headers["Cache-Status"] for job in (first, second)]
    assert [each.split("; ", 1)[1] for each in found] == ["fwd=miss; stored", "fwd=miss; collapsed"]
    (third,) = submit(client).json["jobs"]
    assert third["status"] == "finished"
    answer = post(client)
    assert answer.headers["Cache-Status"] == "classification-server; hit"
    assert answer.json == [{"b": 0.9, "á": 0.1}]


def test_without_the_setting_nothing_is_shared(redis: Redis) -> None:
    client = make(redis)
    jobs = submit(client, 2).json["jobs"]
    assert redis.llen("rq:queue:bulk") == 2
    assert "Cache-Status" not in client.get(jobs[0]["href"]).headers


# -------------------------------------------------------------------- owners of jobs


class CallerClient(AsgiClient):
    """A client that sends an API key."""

    def __init__(self, application: Front, key: str) -> None:
        super().__init__(application)
        self.key = key

    def open(self, *args, headers: dict[str, str] | None = None, **kwargs):
        return super().open(*args, headers={"X-API-Key": self.key, **(headers or {})}, **kwargs)


def test_a_job_is_visible_only_to_its_owner(redis: Redis) -> None:
    keys = {name: name * 6 for name in ("one", "two")}
    application = make(redis, api_keys=parse_keys([f"{name}:{key}" for name, key in keys.items()], "key"))
    one, client = (CallerClient(application.front, keys[name]) for name in ("one", "two"))
    (mine,) = submit_under(one, "k", 1).json["jobs"]
    (other,) = submit_under(client, "k", 1).json["jobs"]
    assert other["id"] != mine["id"]
    assert (
        client.get(f"{mine['href']}?wait=0.2").status_code == 404 == client.delete(mine["href"]).status_code
    )
    both = client.get(f"/jobs?ids={mine['id']},{other['id']}").json["jobs"]
    assert [each["status"] for each in both] == ["unknown", "queued"]
    assert one.get(mine["href"]).json["status"] == "queued"
    assert one.delete(mine["href"]).status_code == 200


# -------------------------------------------------------------------- webhooks

SECRETS = (b"sixteen bytes ok",)


def test_a_webhook_is_stored_with_each_job_and_receives_its_end(redis: Redis) -> None:
    client = make(redis, webhook_secret=SECRETS)
    submit(client, 2, webhook="https://example.com/hook")
    finish(redis)
    assert redis.llen("rq:queue:webhooks") == 2


@pytest.mark.parametrize(
    ("settings", "url", "status", "word"),
    [
        ({}, "https://example.com/", 422, "WEBHOOK_SECRET"),
        ({"webhook_secret": SECRETS}, "http://10.0.0.1/", 422, "WEBHOOK_ALLOW"),
        ({"webhook_secret": SECRETS}, "example.com", 400, "https://host/path"),
    ],
)
def test_a_webhook_that_cannot_be_sent_is_refused(
    redis: Redis, settings: dict[str, object], url: str, status: int, word: str
) -> None:
    answer = submit(make(redis, **settings), webhook=url)
    assert answer.status_code == status and word in answer.json["detail"]
    assert answer.json["errors"][0]["field"] == "webhook"
    assert redis.llen("rq:queue:bulk") == 0
