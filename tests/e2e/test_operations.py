"""Tests what operators see: readiness, models, failed starts, and a change of the model."""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import demo
from shared.version import version
from tests.e2e.test_classify import DIGITS, best, digit_class
from tests.e2e.test_faults import slow_model
from tests.stack import Stack, eventually, responds

__all__ = ["slow_model"]  # a fixture
IMAGE = demo.SAMPLES / "siete.jpg"
NEW = "Nova "
"""The prefix of the other model's class names."""


@pytest.fixture
def stack() -> Iterator[Stack]:
    stack = Stack()
    yield stack
    stack.close()


@pytest.fixture
def other(slow_model: Path, tmp_path: Path) -> dict[str, str]:
    """Return the settings of a model with other weights and the same answers under other names."""
    classes, thresholds = tmp_path / "classes.txt", tmp_path / "thresholds.csv"
    classes.write_text("".join(f"{NEW}{name}\n" for name in demo.CLASSES.read_text().splitlines()))
    head, *rows = demo.THRESHOLDS.read_text().splitlines(keepends=True)
    thresholds.write_text(head + "".join(NEW + row for row in rows))
    return {
        "INFERENCE_MODEL": str(slow_model),
        "INFERENCE_CLASSES_FILE": str(classes),
        "INFERENCE_THRESHOLDS_FILE": str(thresholds),
    }


def ready(stack: Stack, session: requests.Session | None = None) -> requests.Response:
    return (session or requests).get(f"{stack.url}/health/ready", timeout=10)


def live(stack: Stack) -> str:
    return requests.get(f"{stack.url}/health/live", timeout=10).text


def cfg(stack: Stack) -> dict:
    return dict(requests.get(f"{stack.url}/cfg", timeout=10).json())


def check(stack: Stack, number: int, new: str) -> str:
    """Classify a digit, check the answer by the answering model's names, and return this model."""
    image = DIGITS[number % len(DIGITS)]
    answer = stack.classify(image)
    assert answer.status_code == 200, answer.text
    model = answer.headers["X-Model"]
    assert best(answer.json()) == [(NEW if model == new else "") + digit_class(image)]
    assert {name.startswith(NEW) for name in answer.json()[0]} == {model == new}
    return model


def test_models_on_one_queue_are_reported_separately(stack: Stack, other: dict[str, str]) -> None:
    stack.start_worker()
    old = cfg(stack)["model"]
    stack.start_worker(**other)
    now = cfg(stack)
    assert [(each["model"], each["workers"]) for each in now["models"]] == [(now["model"], 1), (old, 1)]
    assert now["model"] != old and now["version"] == version()
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda number: check(stack, number, now["model"]), range(160)))
    assert set(found) == {now["model"], old}
    metrics = requests.get(f"{stack.url}/metrics", timeout=10).text
    assert all(f'classification_model_info{{fingerprint="{each}"' in metrics for each in found)
    assert "another model" in stack.logs("worker-2") and "another model" not in stack.logs("worker-1")
    assert f"version {version()}, model {old[:12]}" in stack.logs("worker-1")
    assert f"version {version()}" in stack.logs("gateway")


def test_the_model_is_changed_without_interruption(stack: Stack, other: dict[str, str]) -> None:
    first = stack.start_worker()
    old, stopped, found = cfg(stack)["model"], threading.Event(), []
    stack.start_worker(wait=False, **other)

    def load(number: int) -> None:
        while not stopped.is_set():
            found.append(check(stack, number, changed["model"]))

    eventually(lambda: cfg(stack)["workers"] == 2, 60, "the new worker serves")
    changed = cfg(stack)
    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(load, number) for number in range(8)]
        eventually(lambda: set(found) == {old, changed["model"]}, 30, "both models answer")
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0
        eventually(lambda: len(cfg(stack)["models"]) == 1, 20, "only the new model is reported")
        del found[:-16]
        eventually(lambda: len(found) > 100, 30, "the new model answers more requests")
        stopped.set()
        assert not [client.result() for client in clients if client.result()]
    assert found[-1] == changed["model"]
    assert requests.get(f"{stack.url}/classes", timeout=10).json()[0].startswith(NEW)
    assert check(stack, 3, changed["model"]) == changed["model"]


def test_a_worker_that_cannot_load_its_model_reports_the_reason(stack: Stack, tmp_path: Path) -> None:
    broken = tmp_path / "model.h5"
    broken.write_bytes(b"<html>not found</html>")
    failed = stack.start("worker", "worker", INFERENCE_MODEL=str(broken))
    assert failed.wait(60) == 2
    eventually(lambda: ready(stack).status_code == 503, 20, "the gateway is up")
    reason = ready(stack).json()["detail"]
    assert str(broken) in reason and "a web page" in reason
    stack.start_worker()
    assert ready(stack).json()["start_failures"] == []
    assert stack.start("worker", "worker", INFERENCE_MODEL=str(broken)).wait(60) == 2
    (failure,) = ready(stack).json()["start_failures"]
    assert "a web page" in failure["reason"] and ready(stack).status_code == 200


def test_a_stopping_gateway_accepts_requests_until_a_load_balancer_has_noticed() -> None:
    stack = Stack(SERVER_DRAIN_SECONDS=2)
    try:
        stack.start_worker()
        assert live(stack) == '{"status":"live"}\n'  # deploy/haproxy.cfg expects this text
        stack.gateway.send_signal(signal.SIGTERM)
        signaled = time.monotonic()
        eventually(lambda: "stopping" in live(stack), 1, "a new connection receives the status `stopping`")
        assert ready(stack).status_code == 503
        while time.monotonic() < signaled + 1.8:
            assert stack.classify(IMAGE).status_code == 200
        assert stack.gateway.wait(5) == 0
        assert time.monotonic() - signaled >= 2
    finally:
        stack.close()


def test_a_stopping_gateway_is_not_ready_and_answers_accepted_requests(
    slow_model: Path,
) -> None:
    stack = Stack(INFERENCE_MODEL=slow_model, INPUT_BATCH=16)
    try:
        stack.start_worker()
        with requests.Session() as session, ThreadPoolExecutor(64) as pool:
            assert ready(stack, session).status_code == 200  # the session keeps its connection
            answers = [pool.submit(stack.classify, IMAGE) for _ in range(64)]
            eventually(lambda: stack.valkey.client.zcard("rq:wip:interactive") > 16, 20, "the model is busy")
            stack.gateway.send_signal(signal.SIGTERM)
            eventually(
                lambda: "stopping" in ready(stack, session).text, 5, "the gateway reports that it stops"
            )
            assert [each.result().status_code for each in answers] == [200] * 64
        assert stack.gateway.wait(20) == 0
    finally:
        stack.close()


def test_an_idle_connection_delays_a_stop_for_some_seconds_only() -> None:
    stack = Stack(GUNICORN_CMD_ARGS="--keep-alive 75")
    try:
        eventually(lambda: responds(f"{stack.url}/health/live"), 20, "the gateway is up")
        with requests.Session() as session:
            assert session.get(f"{stack.url}/health/live", timeout=10).status_code == 200
            stack.gateway.send_signal(signal.SIGTERM)
            assert stack.gateway.wait(20) == 0
    finally:
        stack.close()
