import logging
import re
import time
from math import inf
from pathlib import Path
from typing import cast

import fakeredis
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway import metrics_routes
from gateway.app import create_app
from shared.metric_names import ANSWER, BATCH_INPUTS, DECODE, INFERENCE, QUEUE_WAIT
from shared.queue import BULK, INTERACTIVE
from shared.queue.fleet import Fleet
from shared.queue.messages import Served, WorkerDevice
from shared.settings import Settings
from shared.worker_counts import Count, QueueMetrics
from tests.asgi_client import AsgiClient
from tests.job_queue import JobQueue
from tests.metrics import read
from tests.unit.test_next_batch import prepared
from worker.worker_metrics import WorkerMetrics

ROOT = Path(__file__).parent.parent.parent
MODEL = {"fingerprint": "f1", "thresholds": "t1", "framework": "keras", "precision": "float32", "classes": []}


class Queue(JobQueue):
    """A queue that returns the counts that the test sets."""

    def __init__(self, **counts: float) -> None:
        super().__init__(fakeredis.FakeRedis(), Settings())
        by_queue = {INTERACTIVE: 3, BULK: 5}
        named = {Count.parse(name): amount for name, amount in counts.items()}
        self.fleet = cast(Fleet, self)
        self.snapshot = QueueMetrics(by_queue, {INTERACTIVE: 0.5, BULK: 60.0}, by_queue, 1000, named)

    def metrics(self) -> QueueMetrics:
        return self.snapshot

    def served(self) -> Served:
        return Served(MODEL, 2, 10.0, ((MODEL, 2),), 32, (WorkerDevice("gpu", "NVIDIA H200", 2),))


def client_of(queue: JobQueue):
    return AsgiClient(create_app(Settings(), queue))


def test_requests_are_counted_by_method_route_and_status() -> None:
    client = client_of(Queue())
    for path in ("/jobs/one", "/jobs/two", "/health/live"):
        client.get(path)
    client.post("/health/live")
    client.get("/no/such/path")
    client.open("/health/live", method="BREW")
    metric = read(client.get("/metrics").text)
    assert metric("http_requests_total", method="GET", route="/jobs/<job_id>", status="404") == 2
    assert metric("http_requests_total", method="GET", route="/health/live", status="200") == 1
    assert metric("http_requests_total", method="POST", route="(none)", status="405") == 1
    assert metric("http_requests_total", method="GET", route="(none)", status="404") == 1
    assert metric("http_requests_total", method="other", route="(none)", status="405") == 1
    assert metric("http_requests_total") == metric("http_request_duration_seconds_count") == 6
    assert metric("http_request_duration_seconds_bucket", route="/jobs/<job_id>", le="60.0") == 2


def test_metrics_contain_no_path() -> None:
    client = client_of(Queue())
    client.get("/jobs/one-of-many")
    client.get("/one-of-many")
    assert "one-of-many" not in client.get("/metrics").text


def test_metrics_of_the_queue_and_the_model() -> None:
    metric = read(client_of(Queue()).get("/metrics").text)
    assert (metric("jobs_waiting", queue="bulk"), metric("jobs_running", queue="interactive")) == (5, 3)
    assert metric("oldest_job_wait_seconds", queue="bulk") == 60 and metric("image_bytes") == 1000
    assert metric("workers") == 2 and metric("redis_up") == 1
    assert metric("worker_devices", kind="gpu", device="NVIDIA H200") == 2
    assert metric("model_info", fingerprint="f1", thresholds="t1", precision="float32") == 1


def test_buckets_are_cumulative_and_buckets_of_another_version_are_kept() -> None:
    names = {"decode_seconds::0.05": 2, "decode_seconds::0.07": 3, "decode_seconds::inf": 4}
    metric = read(client_of(Queue(**names, **{"decode_seconds::sum": 1.5})).get("/metrics").text)
    below = [metric("decode_seconds_bucket", le=le) for le in ("0.025", "0.05", "0.07", "0.1", "2.5", "+Inf")]
    assert below == [0, 2, 5, 5, 5, 9]
    assert (metric("decode_seconds_count"), metric("decode_seconds_sum")) == (9, 1.5)


def test_ended_jobs_are_counted_by_outcome_and_reason_and_start_at_0() -> None:
    names = {"jobs:bulk:": 7, "jobs:bulk:image-damaged": 2, "jobs:bulk:expired": 1, "jobs:bulk:new-code": 4}
    client = client_of(Queue(**names))
    metric = read(client.get("/metrics").text)
    assert metric("jobs_ended_total", queue="bulk", outcome="finished", reason="") == 7
    assert metric("jobs_ended_total", queue="bulk", outcome="failed", reason="image-damaged") == 2
    assert metric("jobs_ended_total", queue="bulk", outcome="failed", reason="new-code") == 4
    assert metric("jobs_ended_total", outcome="expired", reason="") == 1
    none = 'jobs_ended_total{outcome="failed",queue="interactive",reason="model-failed"} 0.0'
    assert none in client.get("/metrics").text


class Away(Queue):
    def metrics(self) -> QueueMetrics:
        raise RedisConnectionError("away")


class Hanging(Queue):
    def metrics(self) -> QueueMetrics:
        time.sleep(1)
        return self.snapshot


@pytest.mark.parametrize("queue", [Away, Hanging])
def test_without_redis_the_gateways_own_metrics_are_returned(
    queue: type[Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_routes, "MAX_REDIS_SECONDS", 0.05)
    client = client_of(queue())
    client.get("/health/live")
    answer = client.get("/metrics")
    assert answer.status_code == 200
    metric = read(answer.text)
    assert "classification_redis_up 0.0" in answer.text
    assert metric("http_requests_total", route="/health/live") == 1
    assert "classification_jobs_waiting" not in answer.text


def test_openmetrics_is_returned_if_the_caller_prefers_it() -> None:
    headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = client_of(Queue()).get("/metrics", headers=headers)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_scrapes_are_logged_as_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gateway.app")
    client = client_of(Queue())
    caplog.clear()
    for path in ("/metrics", "/health/live", "/"):
        client.get(path)
    assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG", "INFO"]


def test_the_documented_metrics_equal_the_exported_metrics() -> None:
    client = client_of(Queue())
    client.get("/health/live")
    exported = []
    for family in text_string_to_metric_families(client.get("/metrics").text):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        if not name.endswith("_created"):  # only a single process has these; gunicorn's processes have none
            listed = ", ".join(f"`{each}`" for each in labels)
            exported.append((name, family.type, listed, family.documentation))
    table = r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| (?:gateway|cluster) \| (.+) \|$"
    assert sorted(re.findall(table, (ROOT / "docs/metrics.md").read_text(), re.M)) == sorted(exported)


# ------------------------------------------------------------------- the worker's side


class Receiver:
    """Accepts counts as Redis does, except for the calls that it refuses."""

    def __init__(self, *refusals: int) -> None:
        self.refusals, self.calls, self.sent = list(refusals), 0, []

    def count(self, number: int, amounts: dict[str, float]) -> None:
        self.calls += 1
        if self.calls in self.refusals:
            raise RedisConnectionError("away")
        self.sent.append((number, dict(amounts)))


def test_a_batch_is_counted_by_its_jobs_and_its_run() -> None:
    metrics, receiver = WorkerMetrics(), Receiver()
    first, second = prepared("a"), prepared("b", 3, BULK)
    metrics.count_started([first, second], max(first.decoded_at, second.decoded_at) + 0.02)
    metrics.count_run(4, 0.3)
    metrics.count_answered([first, second], max(first.decoded_at, second.decoded_at) + 0.32)
    metrics.send(receiver.count)
    ((_, amounts),) = receiver.sent
    assert (amounts[f"{BATCH_INPUTS.name}::4"], amounts[f"{BATCH_INPUTS.name}::sum"]) == (1, 4)
    assert (amounts[f"{INFERENCE.name}::0.5"], amounts[f"{INFERENCE.name}::sum"]) == (1, 0.3)
    assert amounts[f"{DECODE.name}::0.001"] == 2
    assert amounts[f"{QUEUE_WAIT.name}:interactive:0.025"] == amounts[f"{QUEUE_WAIT.name}:bulk:0.025"] == 1
    assert amounts[f"{ANSWER.name}:interactive:0.5"] == amounts[f"{ANSWER.name}:bulk:0.5"] == 1


@pytest.mark.parametrize(("inputs", "bound"), [(1, 1), (2, 2), (3, 4), (1024, 1024), (1025, inf)])
def test_a_value_counts_in_the_first_bucket_whose_bound_it_does_not_exceed(inputs: int, bound: float) -> None:
    metrics, receiver = WorkerMetrics(), Receiver()
    metrics.count_run(inputs, 0.3)
    metrics.send(receiver.count)
    assert receiver.sent[0][1][f"batch_inputs::{bound}"] == 1


def test_without_new_counts_nothing_is_sent() -> None:
    metrics, receiver = WorkerMetrics(), Receiver()
    metrics.send(receiver.count)
    metrics.count_run(1, 0.3)
    metrics.send(receiver.count)
    metrics.send(receiver.count)
    assert receiver.calls == 1


def test_refused_counts_are_sent_again_under_their_number_and_separately_from_newer_counts() -> None:
    metrics, receiver = WorkerMetrics(), Receiver(1)
    metrics.count_run(1, 0.3)
    with pytest.raises(RedisConnectionError):
        metrics.send(receiver.count)
    metrics.count_run(2, 0.3)
    metrics.send(receiver.count)
    numbers = [number for number, _ in receiver.sent]
    assert len(numbers) == 2 and numbers == sorted(set(numbers)) and numbers[0] >= 1
    assert [amounts["batch_inputs::sum"] for _, amounts in receiver.sent] == [1, 2]


def test_late_attempts_are_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    metrics, receiver = WorkerMetrics(), Receiver()
    metrics.count_late([prepared("a").claim, prepared("b").claim])
    metrics.send(receiver.count)
    ((_, amounts),) = receiver.sent
    assert amounts == {"late:interactive:": 2}
    assert "job a: attempt 1 discarded" in caplog.text
    metric = read(client_of(Queue(**amounts)).get("/metrics").text)
    assert metric("late_attempts_total", queue="interactive") == 2
