"""Tests that the service recovers after a part dies and answers all accepted requests."""

import contextlib
import re
import resource
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import demo
from tests.e2e.slow_model import create_slow_model
from tests.e2e.test_classify import DIGITS, best, digit_class
from tests.stack import Stack, eventually, responds


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slow") / "slow.h5"
    create_slow_model(path)
    return path


@pytest.fixture
def slow(slow_model: Path) -> Iterator[Stack]:
    stack = Stack(INFERENCE_MODEL=slow_model, JOB_LEASE=2, INPUT_BATCH=16)
    stack.start_worker()
    yield stack
    stack.close()


def send(pool: ThreadPoolExecutor, stack: Stack, count: int) -> list["Future[requests.Response]"]:
    return [pool.submit(stack.classify, DIGITS[i % len(DIGITS)]) for i in range(count)]


def all_answers_are_right(answers: list["Future[requests.Response]"]) -> bool:
    for i, future in enumerate(answers):
        answer = future.result()
        assert answer.status_code == 200, answer.text
        assert best(answer.json()) == [digit_class(DIGITS[i % len(DIGITS)])]
    return True


def waiting(stack: Stack) -> int:
    return int(stack.valkey.client.llen("rq:queue:interactive"))


def running(stack: Stack) -> int:
    return int(stack.valkey.client.zcard("rq:wip:interactive"))


def test_a_killed_worker_loses_no_job_of_its_batch(slow: Stack) -> None:
    with ThreadPoolExecutor(64) as pool:
        answers = send(pool, slow, 64)
        eventually(lambda: running(slow) >= 16 and waiting(slow) > 0, 20, "a batch runs and jobs wait")
        slow.workers[0].kill()
        slow.workers[0].wait()
        slow.start_worker(wait=False)
        assert all_answers_are_right(answers)
    assert slow.valkey.client.zcard("rq:failed:interactive") == 0


def test_a_stopping_worker_finishes_its_batch_and_gives_back_its_other_jobs(slow: Stack) -> None:
    with ThreadPoolExecutor(64) as pool:
        answers = send(pool, slow, 64)
        eventually(lambda: running(slow) >= 32, 20, "a full batch runs and the next batch is claimed")
        slow.workers[0].send_signal(signal.SIGTERM)
        assert slow.workers[0].wait(20) == 0
        slow.start_worker(wait=False)
        assert all_answers_are_right(answers)
    given_back = re.search(r"(\d+) of \d+ jobs given back", slow.logs("worker"))
    assert given_back and int(given_back[1]) > 0
    # Jobs of a dead worker would have waited for the end of their leases.
    assert "its worker died" not in slow.logs("worker")


def test_a_worker_ends_at_once_after_a_second_signal_and_loses_no_job(slow: Stack) -> None:
    with ThreadPoolExecutor(32) as pool:
        answers = send(pool, slow, 32)
        eventually(lambda: running(slow) >= 16, 20, "a batch runs")
        slow.workers[0].send_signal(signal.SIGSTOP)  # like a worker that hangs in its batch
        slow.workers[0].send_signal(signal.SIGTERM)
        slow.workers[0].send_signal(signal.SIGCONT)
        time.sleep(1.1)
        slow.workers[0].send_signal(signal.SIGTERM)
        # Status 1: the worker ended at once. 0 or -SIGTERM: it had already finished its batch.
        assert slow.workers[0].wait(5) in (1, 0, -signal.SIGTERM)
        slow.start_worker(wait=False)
        assert all_answers_are_right(answers)


def test_requests_get_503_while_redis_restarts_and_200_afterwards(slow: Stack) -> None:
    with ThreadPoolExecutor(32) as pool:
        before = send(pool, slow, 32)
        eventually(lambda: running(slow) >= 16, 20, "a batch runs")
        time.sleep(1.2)  # with appendfsync everysec, all accepted jobs are then on disk
        slow.valkey.stop()
        refused = slow.classify(demo.SAMPLES / "siete.jpg")
        assert refused.status_code == 503 and int(refused.headers["Retry-After"]) >= 1
        assert requests.get(f"{slow.url}/health/ready", timeout=15).status_code == 503
        assert requests.get(f"{slow.url}/health/live", timeout=15).status_code == 200
        slow.valkey.start()
        assert all_answers_are_right(before)
    eventually(
        lambda: slow.classify(demo.SAMPLES / "siete.jpg").status_code == 200,
        20,
        "requests are answered again",
    )


def test_without_a_worker_requests_are_refused_at_once() -> None:
    stack = Stack()
    try:
        eventually(lambda: responds(f"{stack.url}/health/live"), 20, "the gateway is up")
        answer = stack.classify(demo.SAMPLES / "siete.jpg")
        assert answer.status_code == 503 and "worker" in answer.json()["detail"]
        assert int(answer.headers["Retry-After"]) >= 1
        assert requests.get(f"{stack.url}/health/ready", timeout=5).status_code == 503
    finally:
        stack.close()


def test_a_full_queue_is_429_and_retry_after_is_long_enough(slow_model: Path) -> None:
    stack = Stack(INFERENCE_MODEL=slow_model, INPUT_BATCH=4, SCHEDULER_QUEUE_SIZE=8)
    try:
        stack.start_worker()
        with ThreadPoolExecutor(48) as pool:
            answers = [future.result() for future in send(pool, stack, 48)]
            refused = [answer for answer in answers if answer.status_code == 429]
            assert refused and all(answer.status_code in (200, 429) for answer in answers)
            assert all(answer.headers["Content-Type"] == "application/problem+json" for answer in refused)
            time.sleep(max(int(answer.headers["Retry-After"]) for answer in refused))
            assert stack.classify(demo.SAMPLES / "siete.jpg").status_code == 200
    finally:
        stack.close()


SLOW_UPLOAD = (
    b"POST /classify HTTP/1.1\r\nHost: slow\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 100\r\n\r\n--x"
)


def test_slow_uploads_and_idle_connections_delay_no_other_request() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # 1,024 is the limit on most systems; the gateway raises its own limit.
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    stack = Stack()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
        stack.start_worker()
        with contextlib.ExitStack() as connections:
            for number in range(2000):
                each = connections.enter_context(
                    socket.create_connection(("127.0.0.1", stack.port), timeout=10)
                )
                if number % 2:
                    each.send(SLOW_UPLOAD)
            files = {"blob": (demo.SAMPLES / "siete.jpg").read_bytes()}
            answer = requests.post(f"{stack.url}/classify", files=files, timeout=30)
            assert best(answer.json()) == ["Digitus septem albus"]
    finally:
        stack.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
