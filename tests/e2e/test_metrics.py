"""The metrics of a real service: exact, despite the death of a worker, and over several gateway processes."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import demo
from tests.metrics import MetricValues, scrape
from tests.stack import ROOT, Stack, eventually

PHOTO = demo.SAMPLES / "siete.jpg"
DAMAGED = PHOTO.read_bytes()[: PHOTO.stat().st_size // 2]

COUNTERS = ("http_requests_total", "jobs_ended_total", *(
    f"{name}_{part}"
    for name in ("batch_inputs", *(
        f"{what}_seconds" for what in ("inference", "decode", "queue_wait", "answer")
    ))
    for part in ("count", "sum")
))  # fmt: skip

has_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: in the package prometheus)"
)


@pytest.fixture(scope="module")
def counted() -> Iterator[Stack]:
    """A service without other callers."""
    stack = Stack()
    stack.start_worker()
    yield stack
    stack.close()


def runs(stack: Stack, inputs: int) -> MetricValues:
    """The metrics, as soon as the worker has reported this total of inputs."""
    return eventually(
        lambda: (found := scrape(stack.url))("batch_inputs_sum") >= inputs and found,
        10,
        "a heartbeat's metrics",
    )


def submit(stack: Stack, *images: bytes) -> None:
    files = [("blob", ("photo", image)) for image in images]
    ids = [job["id"] for job in requests.post(f"{stack.url}/jobs", files=files, timeout=30).json()["jobs"]]
    for each in ids:
        requests.get(f"{stack.url}/jobs/{each}?wait=30", timeout=40)


def test_every_request_is_counted_once(counted: Stack) -> None:
    before = scrape(counted.url)("http_requests_total", route="/jobs/<job_id>")
    answers = [counted.classify(PHOTO) for _ in range(3)]
    answers += [counted.classify(PHOTO, regions="0,0,100;20,20,100;40,40,100"), counted.classify(DAMAGED)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [422]
    submit(counted, PHOTO.read_bytes(), DAMAGED)
    metric = runs(counted, 3 + 3 + 1)
    assert metric("http_requests_total", method="POST", route="/classify", status="200") == 4
    assert metric("http_requests_total", method="POST", route="/classify", status="422") == 1
    assert metric("http_request_duration_seconds_count", method="POST", route="/classify") == 5
    assert metric("http_requests_total", method="GET", route="/jobs/<job_id>") - before == 2
    assert metric("jobs_ended_total", queue="interactive", outcome="finished") == 4
    assert metric("jobs_ended_total", queue="bulk", outcome="finished") == 1
    assert metric("jobs_ended_total", outcome="failed", reason="image-damaged") == 2
    assert metric("jobs_ended_total") == 7
    assert (metric("batch_inputs_count"), metric("batch_inputs_sum")) == (5, 7)
    assert (metric("batch_inputs_bucket", le="1.0"), metric("batch_inputs_bucket", le="4.0")) == (4, 5)
    assert metric("inference_seconds_count") == metric("decode_seconds_count") == 5
    assert metric("queue_wait_seconds_count", queue="interactive") == 4
    assert metric("queue_wait_seconds_count", queue="bulk") == 1
    assert metric("answer_seconds_count") == 5
    assert metric("answer_seconds_sum") > metric("queue_wait_seconds_sum") + metric("inference_seconds_sum")
    assert 0 < metric("inference_seconds_sum") < 5 and metric("image_bytes") == metric("jobs_running") == 0
    cfg = requests.get(f"{counted.url}/cfg", timeout=5).json()
    assert metric("model_info", fingerprint=cfg["model"], thresholds=cfg["thresholds"]) == 1


def test_no_counter_falls_when_a_worker_dies(counted: Stack) -> None:
    before = scrape(counted.url)
    counted.workers[-1].kill()
    counted.workers[-1].wait()
    after = scrape(counted.url)
    assert [name for name in COUNTERS if after(name) < before(name)] == []
    counted.start_worker()
    assert counted.classify(PHOTO).status_code == 200
    metric = runs(counted, int(before("batch_inputs_sum")) + 1)
    assert metric("jobs_ended_total") == before("jobs_ended_total") + 1
    assert metric("batch_inputs_count") == before("batch_inputs_count") + 1


def test_a_stopping_worker_sends_its_last_metrics(counted: Stack) -> None:
    before = scrape(counted.url)
    assert counted.classify(PHOTO).status_code == 200
    counted.workers[-1].send_signal(signal.SIGTERM)
    counted.workers[-1].wait(15)
    assert scrape(counted.url)("batch_inputs_sum") == before("batch_inputs_sum") + 1


@has_promtool
def test_promtool_finds_no_problem(counted: Stack) -> None:
    text = requests.get(f"{counted.url}/metrics", timeout=10).text
    assert text.count("# TYPE") >= 14  # all except the model, whose worker may have stopped
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@has_promtool
def test_the_documented_queries_are_promql(tmp_path: Path) -> None:
    queries = (ROOT / "docs/metrics.md").read_text().split("## Queries")[1]
    expressions = re.findall(r"^    (\S.*)$", queries, re.M)
    assert len(expressions) >= 10
    rules = tmp_path / "rules.yaml"
    listed = "".join(f"  - record: query:{i}\n    expr: {each!r}\n" for i, each in enumerate(expressions))
    rules.write_text(f"groups:\n- name: docs\n  rules:\n{listed}")
    done = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_any_process_of_a_gateway_returns_the_counts_of_all() -> None:
    stack, sent = Stack(WEB_CONCURRENCY=2), 0

    def ask(_: int) -> bool:
        try:
            return requests.get(f"{stack.url}/health/live", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False  # the port is not open

    def all_have_counted() -> bool:
        nonlocal sent
        with ThreadPoolExecutor(16) as pool:
            sent += sum(pool.map(ask, range(32)))
        return sum(bool(counts_file(pid)) for pid in children(stack.gateway.pid)) == 2

    try:
        eventually(all_have_counted, 20, "both processes have answered requests")
        totals = [scrape(stack.url)("http_requests_total", route="/health/live") for _ in range(8)]
        assert totals == [sent] * 8
        (folder,) = {Path(counts_file(pid)).parent for pid in children(stack.gateway.pid)}
        assert folder.is_dir()
        shutil.rmtree(folder)  # as systemd does when the user who started it logs out
        assert scrape(stack.url)("http_requests_total", route="/health/live") > 0
        os.kill(int(children(stack.gateway.pid)[0]), signal.SIGKILL)
        eventually(all_have_counted, 20, "the new process answers too")
    finally:
        stack.close()
    assert not folder.exists()


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def counts_file(pid: str) -> str:
    """The file of a gateway process's counts, or '' if it has answered no request."""
    try:
        found = re.search(r"(\S+)/counter_\d+\.db", Path(f"/proc/{pid}/maps").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has just ended
    return found[0] if found else ""
