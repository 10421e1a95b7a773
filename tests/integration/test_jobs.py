"""The job API on a real queue: submit, poll, wait, cancel."""

import io
import threading
import time

import pytest
from redis import Redis

from shared.job import JobFailure
from shared.queue import BULK, INTERACTIVE, Ending, JobQueue, Reply
from shared.settings import Settings
from tests.bad_input import encoded
from tests.integration.test_gateway import RESULT, make, worker

FIELDS = {"id", "status", "position", "submitted_at", "started_at", "ended_at", "attempts", "result", "error"}


def submit(client, count: int = 1, **form: str):
    blobs = [(io.BytesIO(encoded()), f"{i}.jpg") for i in range(count)]
    return client.post("/jobs", data={"blob": blobs, **form})


def finish(redis: Redis, failure: JobFailure | None = None) -> None:
    queue = JobQueue(redis, Settings())
    for claim in queue.claim("w1", {INTERACTIVE: 32, BULK: 32}, idle=True).jobs:
        queue.settle("w1", [Ending(claim, Reply(claim.job_id, None if failure else RESULT, failure))])


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


def test_a_bulk_that_does_not_fit_is_refused_whole(redis: Redis) -> None:
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
        queue.settle("w1", [Ending(claim, Reply(claim.job_id, RESULT))])

    threading.Timer(0.4, finish_one).start()
    told = client.get(f"/jobs?ids={first},{second},nobody&wait=0").json["jobs"]
    assert [each["status"] for each in told] == ["queued", "queued", "unknown"]
    told = client.get(f"/jobs?ids={first},{second}&wait=30").json["jobs"]
    assert [each["status"] for each in told] == ["finished", "queued"]


def test_any_gateway_answers_for_any_job(redis: Redis) -> None:
    here, there = make(redis), make(redis)
    (job,) = submit(here).json["jobs"]
    threading.Timer(0.4, finish, [redis]).start()
    assert there.get(f"{job['href']}?wait=30").json["status"] == "finished"
    assert here.get(job["href"]).json["status"] == "finished"


def test_a_failed_job_tells_why(redis: Redis) -> None:
    client = make(redis)
    (job,) = submit(client).json["jobs"]
    finish(redis, JobFailure("image-damaged", "the image is damaged"))
    told = client.get(job["href"]).json
    assert told["status"] == "failed" and told["result"] is None
    assert told["error"] == {"code": "image-damaged", "detail": "the image is damaged"}


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
        ("/jobs/nobody?wait=61", 400, "wait"),
        ("/jobs/nobody?wait=nan", 400, "wait"),
        ("/jobs", 400, "ids"),
        ("/jobs?ids=" + "a," * 101, 400, "ids"),
    ],
)
def test_wrong_questions_get_their_reason(redis: Redis, path: str, status: int, word: str) -> None:
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
    assert kept <= {"rq:queues", "rq:workers:interactive", "rq:finished:bulk", "rq:canceled:bulk"}
    assert list(redis.scan_iter("image:*")) == []
