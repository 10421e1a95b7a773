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

from gateway import request_metrics
from gateway.app import create_app
from shared.metric_names import ANSWER, BATCH_INPUTS, DECODE, INFERENCE, QUEUE_WAIT, Count, QueueMetrics
from shared.queue import BULK, INTERACTIVE
from shared.queue.fleet import Fleet
from shared.queue.messages import Served
from shared.settings import Settings
from tests.figures import read
from tests.queue_sides import JobQueue
from tests.unit.test_next_batch import prepared
from worker.worker_metrics import WorkerMetrics

ROOT = Path(__file__).parent.parent.parent
MODEL = {"fingerprint": "f1", "thresholds": "t1", "framework": "keras", "precision": "float32", "classes": []}


class Queue(JobQueue):
    """A queue that tells what the test gives it."""

    def __init__(self, **counts: float) -> None:
        super().__init__(fakeredis.FakeRedis(), Settings())
        by_queue = {INTERACTIVE: 3, BULK: 5}
        named = {Count.parse(name): amount for name, amount in counts.items()}
        self.fleet = cast(Fleet, self)
        self.told = QueueMetrics(by_queue, {INTERACTIVE: 0.5, BULK: 60.0}, by_queue, 1000, named)

    def metrics(self) -> QueueMetrics:
        return self.told

    def served(self) -> Served:
        return Served(MODEL, 2, 10.0, ((MODEL, 2),), 32)


def client_of(queue: JobQueue):
    return create_app(Settings(), queue).test_client()


def test_requests_are_counted_by_method_route_and_status() -> None:
    client = client_of(Queue())
    for path in ("/jobs/one", "/jobs/two", "/health/live"):
        client.get(path)
    client.post("/health/live")
    client.get("/no/such/path")
    client.open("/health/live", method="BREW")
    told = read(client.get("/metrics").text)
    assert told("http_requests_total", method="GET", route="/jobs/<job_id>", status="404") == 2
    assert told("http_requests_total", method="GET", route="/health/live", status="200") == 1
    assert told("http_requests_total", method="POST", route="(none)", status="405") == 1
    assert told("http_requests_total", method="GET", route="(none)", status="404") == 1
    assert told("http_requests_total", method="other", route="(none)", status="405") == 1
    assert told("http_requests_total") == told("http_request_duration_seconds_count") == 6
    assert told("http_request_duration_seconds_bucket", route="/jobs/<job_id>", le="60.0") == 2


def test_no_path_stands_in_the_figures() -> None:
    client = client_of(Queue())
    client.get("/jobs/one-of-many")
    client.get("/one-of-many")
    assert "one-of-many" not in client.get("/metrics").text


def test_the_queue_and_the_model_are_told() -> None:
    told = read(client_of(Queue()).get("/metrics").text)
    assert (told("jobs_waiting", queue="bulk"), told("jobs_running", queue="interactive")) == (5, 3)
    assert told("oldest_job_wait_seconds", queue="bulk") == 60 and told("image_bytes") == 1000
    assert told("workers") == 2 and told("redis_up") == 1
    assert told("model_info", fingerprint="f1", thresholds="t1", precision="float32") == 1


def test_buckets_are_cumulative_and_another_versions_are_kept() -> None:
    names = {"decode_seconds::0.05": 2, "decode_seconds::0.07": 3, "decode_seconds::inf": 4}
    told = read(client_of(Queue(**names, **{"decode_seconds::sum": 1.5})).get("/metrics").text)
    below = [told("decode_seconds_bucket", le=le) for le in ("0.025", "0.05", "0.07", "0.1", "2.5", "+Inf")]
    assert below == [0, 2, 5, 5, 5, 9]
    assert (told("decode_seconds_count"), told("decode_seconds_sum")) == (9, 1.5)


def test_ended_jobs_are_told_by_outcome_and_reason_and_none_is_0() -> None:
    names = {"jobs:bulk:": 7, "jobs:bulk:image-damaged": 2, "jobs:bulk:expired": 1, "jobs:bulk:new-code": 4}
    client = client_of(Queue(**names))
    told = read(client.get("/metrics").text)
    assert told("jobs_ended_total", queue="bulk", outcome="finished", reason="") == 7
    assert told("jobs_ended_total", queue="bulk", outcome="failed", reason="image-damaged") == 2
    assert told("jobs_ended_total", queue="bulk", outcome="failed", reason="new-code") == 4
    assert told("jobs_ended_total", outcome="expired", reason="") == 1
    none = 'jobs_ended_total{outcome="failed",queue="interactive",reason="model-failed"} 0.0'
    assert none in client.get("/metrics").text


class Away(Queue):
    def metrics(self) -> QueueMetrics:
        raise RedisConnectionError("away")


class Hanging(Queue):
    def metrics(self) -> QueueMetrics:
        time.sleep(1)
        return self.told


@pytest.mark.parametrize("queue", [Away, Hanging])
def test_without_redis_the_gateways_own_figures_are_told(
    queue: type[Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_metrics, "REDIS_SECONDS", 0.05)
    client = client_of(queue())
    client.get("/health/live")
    answer = client.get("/metrics")
    assert answer.status_code == 200
    told = read(answer.text)
    assert "classification_redis_up 0.0" in answer.text
    assert told("http_requests_total", route="/health/live") == 1
    assert "classification_jobs_waiting" not in answer.text


def test_openmetrics_is_answered_to_those_that_prefer_it() -> None:
    headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = client_of(Queue()).get("/metrics", headers=headers)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_scrapes_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gateway.app")
    client = client_of(Queue())
    caplog.clear()
    for path in ("/metrics", "/health/live", "/"):
        client.get(path)
    assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG", "INFO"]


def test_the_documented_metrics_are_the_codes() -> None:
    client = client_of(Queue())
    client.get("/health/live")
    told = []
    for family in text_string_to_metric_families(client.get("/metrics").text):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        if not name.endswith("_created"):  # those of one process alone; gunicorn's have none
            told.append((name, family.type, ", ".join(f"`{each}`" for each in labels), family.documentation))
    table = r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| (?:gateway|cluster) \| (.+) \|$"
    assert sorted(re.findall(table, (ROOT / "docs/metrics.md").read_text(), re.M)) == sorted(told)


# ------------------------------------------------------------------- the worker's side


class Receiver:
    """Takes counts as Redis does, except for those that it is told to refuse."""

    def __init__(self, *refusals: int) -> None:
        self.refusals, self.calls, self.sent = list(refusals), 0, []

    def count(self, number: int, amounts: dict[str, float]) -> None:
        self.calls += 1
        if self.calls in self.refusals:
            raise RedisConnectionError("away")
        self.sent.append((number, dict(amounts)))


def test_a_batch_is_counted_by_its_jobs_and_its_run() -> None:
    figures, receiver = WorkerMetrics(), Receiver()
    first, second = prepared("a"), prepared("b", 3, BULK)
    figures.count_started([first, second], max(first.decoded_at, second.decoded_at) + 0.02)
    figures.count_run(4, 0.3)
    figures.count_answered([first, second], max(first.decoded_at, second.decoded_at) + 0.32)
    figures.send(receiver.count)
    ((_, amounts),) = receiver.sent
    assert (amounts[f"{BATCH_INPUTS.name}::4"], amounts[f"{BATCH_INPUTS.name}::sum"]) == (1, 4)
    assert (amounts[f"{INFERENCE.name}::0.5"], amounts[f"{INFERENCE.name}::sum"]) == (1, 0.3)
    assert amounts[f"{DECODE.name}::0.001"] == 2
    assert amounts[f"{QUEUE_WAIT.name}:interactive:0.025"] == amounts[f"{QUEUE_WAIT.name}:bulk:0.025"] == 1
    assert amounts[f"{ANSWER.name}:interactive:0.5"] == amounts[f"{ANSWER.name}:bulk:0.5"] == 1


@pytest.mark.parametrize(("inputs", "bound"), [(1, 1), (2, 2), (3, 4), (1024, 1024), (1025, inf)])
def test_a_value_counts_in_the_first_bucket_that_it_does_not_pass(inputs: int, bound: float) -> None:
    figures, receiver = WorkerMetrics(), Receiver()
    figures.count_run(inputs, 0.3)
    figures.send(receiver.count)
    assert receiver.sent[0][1][f"batch_inputs::{bound}"] == 1


def test_nothing_new_is_not_sent() -> None:
    figures, receiver = WorkerMetrics(), Receiver()
    figures.send(receiver.count)
    figures.count_run(1, 0.3)
    figures.send(receiver.count)
    figures.send(receiver.count)
    assert receiver.calls == 1


def test_what_redis_refused_is_sent_again_under_its_number_and_apart_from_what_came_since() -> None:
    figures, receiver = WorkerMetrics(), Receiver(1)
    figures.count_run(1, 0.3)
    with pytest.raises(RedisConnectionError):
        figures.send(receiver.count)
    figures.count_run(2, 0.3)
    figures.send(receiver.count)
    numbers = [number for number, _ in receiver.sent]
    assert len(numbers) == 2 and numbers == sorted(set(numbers)) and numbers[0] >= 1
    assert [amounts["batch_inputs::sum"] for _, amounts in receiver.sent] == [1, 2]


def test_attempts_that_came_too_late_are_told_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    figures, receiver = WorkerMetrics(), Receiver()
    figures.count_late([prepared("a").claim, prepared("b").claim])
    figures.send(receiver.count)
    ((_, amounts),) = receiver.sent
    assert amounts == {"late:interactive:": 2}
    assert "job a: attempt 1 discarded" in caplog.text
    told = read(client_of(Queue(**amounts)).get("/metrics").text)
    assert told("late_attempts_total", queue="interactive") == 2
