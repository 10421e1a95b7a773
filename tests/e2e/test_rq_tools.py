"""Tests RQ's own tools on a running service."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

import demo
from tests.stack import Stack, eventually, free_port, responds, rq_command


def rq(stack: Stack, *arguments: str) -> str:
    return rq_command(stack.valkey.url, *arguments)


def test_rq_info_shows_the_worker_and_its_queues(stack: Stack) -> None:
    assert stack.classify(demo.SAMPLES / "siete.jpg").status_code == 200
    assert "queue interactive 0" in rq(stack, "info", "--raw")
    # The worker writes its state with its heartbeat, every two seconds.
    worker = eventually(
        lambda: re.search(r"worker \S+ .* idle interactive, bulk\..*", rq(stack, "info", "--raw")),
        10,
        "the worker is idle",
    )
    assert re.search(r"jobs: [1-9]\d* finished", worker[0])


def test_requests_wait_after_rq_suspend_until_rq_resume(stack: Stack) -> None:
    rq(stack, "suspend")
    try:
        time.sleep(1.5)  # a worker that waits for jobs checks for a suspension after at most one second
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(stack.classify, demo.SAMPLES / "siete.jpg")
            eventually(lambda: stack.valkey.client.llen("rq:queue:interactive") == 1, 5, "the request waits")
            time.sleep(1.5)
            assert not answer.done()
            rq(stack, "resume")
            assert answer.result(30).status_code == 200
    finally:
        rq(stack, "resume")


def test_rq_reads_a_finished_job(stack: Stack) -> None:
    from rq.job import Job
    from rq.serializers import JSONSerializer

    answer = stack.classify(demo.SAMPLES / "siete.jpg")
    job = Job.fetch(answer.headers["X-Job-Id"], connection=stack.valkey.client, serializer=JSONSerializer)
    found = job.return_value()["result"]
    assert job.is_finished and job.worker_name
    best = found["regions"][0]["predictions"][0]
    assert (
        best["class"] == "Digitus septem albus" and best["accepted"] and 0 < best["threshold"] < best["score"]
    )
    assert found["model"] == answer.headers["X-Model"] and len(found["thresholds"]) == 64


@pytest.fixture
def dashboard(stack: Stack) -> Iterator[str]:
    """Start rq-dashboard as docs/rq-dashboard.md describes."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = ("--json", "--redis-url", stack.valkey.url, "--bind", "127.0.0.1", "--port", str(port))
    process = stack.start("dashboard", "rq_dashboard", *options)
    eventually(lambda: responds(url), 30, "the dashboard answers")
    yield f"{url}/0"
    process.terminate()
    process.wait(10)


def test_rq_dashboard_shows_queues_workers_and_jobs(stack: Stack, dashboard: str) -> None:
    def data(path: str) -> Any:
        return requests.get(f"{dashboard}/data/{path}.json", timeout=10).json()

    good = stack.classify(demo.SAMPLES / "siete.jpg").headers["X-Job-Id"]
    cut = {"blob": ("cut.jpg", (demo.SAMPLES / "siete.jpg").read_bytes()[:7000])}
    (job,) = requests.post(f"{stack.url}/jobs", files=cut, timeout=10).json()["jobs"]
    assert requests.get(f"{stack.url}{job['href']}?wait=30", timeout=40).json()["status"] == "failed"
    queues = {each["name"]: each for each in data("queues")["queues"]}
    assert {"interactive", "bulk"} <= set(queues)
    assert queues["interactive"]["finished_job_registry_count"] > 0
    (worker,) = data("workers")["workers"]
    assert worker["queues"] == ["interactive", "bulk"]
    assert job["id"] in [each["id"] for each in data("jobs/bulk/failed/100/desc/1")["jobs"]]
    assert "damaged" in data(f"job/{job['id']}")["exc_info"]
    found = data(f"job/{good}")
    assert (found["status"], found["description"]) == ("finished", "classify 1 input(s), top 5")
    assert found["result"]["result"]["regions"][0]["predictions"][0]["class"] == "Digitus septem albus"
    assert good in requests.get(f"{dashboard}/view/job/{good}", timeout=10).text
