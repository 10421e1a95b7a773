"""The gateway's app on a real queue, with a worker that the test simulates."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis
from rq.suspension import resume, suspend

from gateway.app import create_app
from shared.job import JobFailure
from shared.logs import JsonFormatter
from shared.queue import BULK, INTERACTIVE
from shared.queue.messages import Reply, Settlement, WorkerStatus
from shared.redis_connection import connect
from shared.settings import Settings
from tests.asgi_client import AsgiClient
from tests.bad_input import encoded
from tests.job_queue import JobQueue

MODEL = {
    "id": "m",
    "classes": ["á", "b"],
    "height": 32,
    "width": 24,
    "channels": 3,
    "batch": 32,
    "preprocess": "inception_v3",
    "activation": "none",
    "precision": "float32",
    "color": "rgb",
    "resize": "antialias",
    "minimum_threshold": 0.5,
    "fingerprint": "f" * 64,
    "thresholds": "t" * 64,
    "framework": "keras",
}
RESULT = {
    "regions": [
        {"region": None, "predictions": [{"class": "b", "score": 0.9}, {"class": "á", "score": 0.1}]}
    ],
    "model": "f" * 64,
}


def make(redis: Redis, **settings: object) -> AsgiClient:
    """A client of an app on that server, for which a worker seems to be alive."""
    values = Settings(**{"job_lease": 30.0, "request_timeout": 5.0, **settings})  # type: ignore[arg-type]
    queue = JobQueue(redis, values)
    redis.sadd("rq:workers:interactive", "rq:worker:w1")
    queue.fleet.publish("w1", MODEL, WorkerStatus(2.0, 32, 0.0, ("gpu", "NVIDIA H200")))
    return AsgiClient(create_app(values, queue))


@contextmanager
def worker(redis: Redis, *replies: Reply) -> Iterator[list[object]]:
    """Answers the next jobs with these replies, in order; the claimed options are the context's value."""
    queue, claimed = JobQueue(redis, Settings()), []

    def run() -> None:
        left = list(replies)
        while left:
            queue.wait_for_work(1.0)
            for claim in queue.claim("w1", {INTERACTIVE: 32, BULK: 32}, idle=True).jobs:
                claimed.append(claim.options())
                reply = left.pop(0)
                queue.settle(
                    "w1", [Settlement(claim, Reply(claim.job_id, reply.result, reply.failure, reply.timing))]
                )

    thread = threading.Thread(target=run)
    thread.start()
    yield claimed
    thread.join(10)


def post(client: AsgiClient, headers: dict[str, str] | None = None, **form: str):
    import io

    return client.post("/classify", data={"blob": (io.BytesIO(encoded()), "p.jpg"), **form}, headers=headers)


def test_the_answer_has_the_originals_form_and_its_accents(redis: Redis) -> None:
    with worker(redis, Reply("", RESULT, timing={"queue": 1.0, "decode": 2.0, "infer": 3.0})):
        answer = post(make(redis))
    assert answer.data.decode().strip() == '[{"b":0.9,"á":0.1}]'
    assert answer.headers["X-Model"] == "f" * 64
    assert answer.headers["Server-Timing"].startswith(
        "queue;dur=1.0, decode;dur=2.0, infer;dur=3.0, total;dur="
    )


def test_consolidated_answers_are_pairs(redis: Redis) -> None:
    with worker(redis, Reply("", RESULT | {"consolidated": [["Quercus rugosa", 0.8], ["Pinus", 0.0]]})):
        assert post(make(redis), consolidate="on").json == [["Quercus rugosa", 0.8], ["Pinus", 0.0]]


@pytest.mark.parametrize("order", ["xy", "yx"])
def test_regions_reach_the_worker_in_its_order(redis: Redis, order: str) -> None:
    with worker(redis, Reply("", RESULT)) as claimed:
        answer = post(
            make(redis, region_order=order), regions=" 3, 4,20 ;5,6,7;", top_n="3", consolidate="TRUE"
        )
    assert answer.status_code == 200, answer.text
    (options,) = claimed
    found = options.to_json()  # type: ignore[attr-defined]
    wanted = [[3, 4, 20], [5, 6, 7]] if order == "xy" else [[4, 3, 20], [6, 5, 7]]
    assert found == {"regions": wanted, "top_n": 3, "consolidate": True}


@pytest.mark.parametrize(
    ("code", "status"),
    [("image-damaged", 422), ("model-failed", 500), ("attempts-exhausted", 500), ("expired", 504)],
)
def test_a_jobs_failure_is_returned_with_its_reason(redis: Redis, code: str, status: int) -> None:
    with worker(redis, Reply("", failure=JobFailure(code, "because"))):
        answer = post(make(redis))
    assert answer.status_code == status and answer.content_type == "application/problem+json"
    assert answer.json["detail"] == "because" and answer.json["type"] == f"urn:problem:{code}"


def test_no_answer_in_time_is_504_and_the_job_expires(redis: Redis) -> None:
    answer = post(make(redis, request_timeout=0.3))
    assert answer.status_code == 504 and "0.3 s" in answer.json["detail"]
    time.sleep(0.1)  # the job was queued a moment after the wait began
    (claim,) = JobQueue(redis, Settings()).claim("w1", {INTERACTIVE: 32, BULK: 32}, idle=True).jobs
    assert claim.seconds_left is not None and claim.seconds_left <= 0


def test_a_full_queue_is_429_with_the_seconds_it_takes(redis: Redis) -> None:
    client = make(redis, queue_size=1, request_timeout=0.2)
    post(client)  # it stays in the queue
    answer = post(client)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert "full" in answer.json["detail"]


def test_redis_out_of_memory_is_503_and_nothing_is_half_written(redis: Redis) -> None:
    client = make(redis)
    redis.config_set("maxmemory", "1mb")
    try:
        answer = post(client)
        assert answer.status_code == 503 and "out of memory" in answer.json["detail"]
        assert int(answer.headers["Retry-After"]) >= 1
    finally:
        redis.config_set("maxmemory", "0")
    assert redis.llen("rq:queue:interactive") == 0
    assert list(redis.scan_iter("rq:job:*")) == list(redis.scan_iter("image:*")) == []


def test_an_unreachable_redis_is_503_on_every_path_except_live() -> None:
    away = connect("unix:///nowhere/redis.sock", retries=0)
    client = AsgiClient(create_app(Settings(), JobQueue(away, Settings())))
    statuses = [
        client.get(path).status_code for path in ("/classes", "/cfg", "/health/ready", "/health/live")
    ]
    assert [*statuses, post(client).status_code] == [503, 503, 503, 200, 503]


def test_no_worker_is_503_with_the_reason(redis: Redis) -> None:
    client = AsgiClient(create_app(Settings(), JobQueue(redis, Settings())))
    for answer in (post(client), client.get("/cfg"), client.get("/health/ready")):
        assert answer.status_code == 503 and "No worker" in answer.json["detail"]
        assert int(answer.headers["Retry-After"]) >= 1


def test_a_suspended_queue_is_not_ready_and_the_answer_has_the_reason(redis: Redis) -> None:
    client = make(redis)
    suspend(redis)
    answer = client.get("/health/ready")
    assert answer.status_code == 503 and "rq resume" in answer.json["detail"]
    resume(redis)
    assert client.get("/health/ready").status_code == 200


def test_an_error_of_the_server_is_a_problem_with_the_requests_id(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    client = make(redis)
    redis.set("classification:model:m", "not JSON")
    answer = client.get("/cfg", headers={"X-Request-Id": "abc"})
    assert answer.status_code == 500 and "abc" in answer.json["detail"]
    assert "Traceback" not in answer.text and "Traceback" in caplog.text


def test_classes_and_cfg_describe_the_model(redis: Redis) -> None:
    client = make(redis)
    assert client.get("/classes").json == ["á", "b"]
    cfg = client.get("/cfg").json
    assert cfg == client.post("/cfg").json
    assert cfg["devices"] == [{"kind": "gpu", "name": "NVIDIA H200", "workers": 1}]
    assert (cfg["input_dims"], cfg["input_batch"], cfg["workers"], cfg["model"]) == (
        "32x24x3",
        32,
        1,
        "f" * 64,
    )
    assert make(redis, region_order="yx").get("/cfg").json["region_order"] == "yx"


def test_each_warning_of_the_workers_is_shown_once(redis: Redis) -> None:
    client, queue = make(redis), JobQueue(redis, Settings(job_lease=30.0))
    assert client.get("/cfg").json["warnings"] == client.get("/health/ready").json["warnings"] == []
    for name, warnings in (("w2", ["a", "b"]), ("w3", ["b"])):
        redis.sadd("rq:workers:interactive", f"rq:worker:{name}")
        model = MODEL | {"id": name, "precision": "bfloat16", "warnings": warnings}
        queue.fleet.publish(name, model, WorkerStatus(2.0, 32, 1.0))
    cfg = make(redis).get("/cfg").json
    assert sorted(cfg["warnings"]) == sorted(client.get("/health/ready").json["warnings"]) == ["a", "b"]
    assert [each["precision"] for each in cfg["models"]] == ["bfloat16", "bfloat16", "float32"]


@pytest.mark.parametrize("given", ["phone-1.2:x", "", "with space", "x" * 200, "ñ"])
def test_a_valid_request_id_is_kept_and_any_other_replaced(redis: Redis, given: str) -> None:
    found = make(redis).get("/health/live", headers={"X-Request-Id": given}).headers["X-Request-Id"]
    assert found == given if given == "phone-1.2:x" else len(found) == 32


def test_a_path_with_two_slashes_is_redirected(redis: Redis) -> None:
    answer = make(redis).get("/jobs//x?wait=1")
    assert answer.status_code == 308 and answer.headers["Location"] == "/jobs/x?wait=1"


def test_any_origin_may_call_unless_some_are_named(redis: Redis) -> None:
    page = {"Origin": "https://plants.example"}
    assert make(redis).get("/classes", headers=page).headers["Access-Control-Allow-Origin"] == "*"
    some = make(redis, cors_origins=("https://plants.example",))
    assert some.get("/classes", headers=page).headers["Access-Control-Allow-Origin"] == page["Origin"]
    other = some.get("/classes", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in other.headers and other.headers["Vary"] == "Origin"


def test_a_preflight_is_answered(redis: Redis) -> None:
    headers = {
        "Origin": "https://plants.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-request-id",
    }
    answer = make(redis).options("/classify", headers=headers)
    assert answer.status_code == 204 and answer.headers["Access-Control-Allow-Headers"] == "x-request-id"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]


def test_errors_carry_the_cors_header_and_no_sniffing(redis: Redis) -> None:
    answer = make(redis).get("/nowhere", headers={"Origin": "https://plants.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_json_log_line_holds_the_request(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    make(redis).get("/classes", headers={"X-Request-Id": "abc"})
    (record,) = [each for each in caplog.records if "GET" in each.getMessage()]
    line = json.loads(JsonFormatter().format(record))
    assert (line["request_id"], line["status"], line["level"]) == ("abc", 200, "info")
    assert line["message"].startswith("GET /classes 200")


# -------------------------------------------------------------------- Prefer: wait


@pytest.mark.parametrize("preference", ["wait=0", "respond-async", "handling=strict, wait=0.0;x, wait=0"])
def test_an_answer_that_takes_longer_than_preferred_is_a_job(redis: Redis, preference: str) -> None:
    client = make(redis)
    answer = post(client, {"Prefer": preference})
    (job,) = answer.json["jobs"]
    assert answer.status_code == 202 and answer.headers["Location"] == f"/jobs/{job['id']}"
    assert answer.headers["Preference-Applied"] == "wait=0" and answer.headers["X-Job-Id"] == job["id"]
    (claim,) = JobQueue(redis, Settings()).claim("w1", {INTERACTIVE: 32, BULK: 32}, idle=True).jobs
    assert claim.seconds_left is None, "the job must outlive the request"
    JobQueue(redis, Settings()).settle("w1", [Settlement(claim, Reply(claim.job_id, RESULT))])
    assert client.get(job["href"]).json["result"]["regions"] == RESULT["regions"]


def test_the_preferred_wait_ends_before_a_proxy_aborts_the_request(redis: Redis) -> None:
    answer = post(make(redis, request_timeout=0.2), {"Prefer": "wait=90"})
    assert answer.status_code == 202 and answer.headers["Preference-Applied"] == "wait=55"


def test_an_answer_within_the_preferred_time_is_returned_directly(redis: Redis) -> None:
    with worker(redis, Reply("", RESULT)):
        answer = post(make(redis), {"Prefer": "wait=4"})
    assert answer.status_code == 200 and answer.json == [{"b": 0.9, "á": 0.1}]


def test_other_preferences_are_ignored(redis: Redis) -> None:
    answer = post(make(redis, request_timeout=0.2), {"Prefer": "return=minimal, wait=x"})
    assert answer.status_code == 504
