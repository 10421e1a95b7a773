"""The time limits of connections and answers fit the proxies in front of a gateway."""

import re
import signal
import socket
import time
from collections.abc import Iterator

import pytest
import requests

from shared.settings import Settings
from tests.keepalive import Plan, check
from tests.nginx import Nginx, needs_nginx
from tests.stack import ROOT, Stack, eventually, free_port, responds

GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
SHORT = Plan(requests=60, seconds=11, scale=1 / 6, keep_alive=Settings().keep_alive_seconds)
"""A sixth of the default times: nginx waits 10 s, and the gateway 9.2 s."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    running = Stack()
    eventually(lambda: responds(f"{running.url}/health/live"), 30, "the gateway runs")
    yield running
    running.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def answer(connection: socket.socket) -> bytes:
    """Read one answer of /health/live."""
    received = b""
    while not received.endswith(b'"live"}\n'):
        data = connection.recv(4096)
        assert data, f"expected an answer, got {received!r} and the connection's end"
        received += data
    return received


@needs_nginx
def test_behind_nginx_every_caller_gets_the_gateways_answer() -> None:
    report = check(SHORT)
    assert report.faults() == []
    assert report.answers == report.expected and report.answers.total() >= SHORT.requests
    # The callers with the same pause send at the same time, so nginx' pool has a connection for each caller.
    assert report.connections >= SHORT.callers(60.0) + SHORT.callers(30.0)


@needs_nginx
def test_the_documented_configuration_of_nginx_accepts_photos(stack: Stack) -> None:
    page, port = (ROOT / "docs/operations.md").read_text(), free_port()
    (example,) = re.findall(r"^    upstream gateway .*\n(?:    .*\n)+", page, re.M)
    nginx = Nginx(
        example.replace("127.0.0.1:8001", f"127.0.0.1:{stack.port}").replace("80;", f"{port};"), port
    )
    try:
        photo = {"blob": bytes(2_000_000)}  # above nginx' default of 1 MB
        answer = requests.post(f"http://127.0.0.1:{port}/jobs", files=photo, timeout=30)
        assert answer.headers["Content-Type"] == "application/problem+json" and answer.status_code == 415
    finally:
        nginx.close()


def test_a_connection_is_closed_only_after_the_keep_alive_time(stack: Stack) -> None:
    port = free_port()
    stack.start_gunicorn("short", "gateway.app", SERVER_PORT=str(port), SERVER_KEEP_ALIVE_SECONDS="2")
    eventually(lambda: responds(f"http://127.0.0.1:{port}/health/live"), 30, "the gateway runs")
    with connect(port) as short, connect(stack.port) as default:
        for each in (short, default):
            each.sendall(GET)
            answer(each)
        started = time.monotonic()
        assert short.recv(1) == b"" and time.monotonic() - started > 1.9
        time.sleep(5)  # longer than the time limit for a header
        default.sendall(GET)
        assert b"200 OK" in answer(default)


def test_requests_that_arrive_together_are_all_answered(stack: Stack) -> None:
    with connect(stack.port) as connection:
        connection.sendall(GET * 3)
        received = b""
        while received.count(b'"live"}\n') < 3:
            received += connection.recv(4096)
    assert received.count(b"HTTP/1.1 200 OK") == 3


def test_many_idle_connections_stay_open(stack: Stack) -> None:
    connections = [connect(stack.port) for _ in range(500)]
    try:
        for each in connections:
            each.sendall(GET)
            answer(each)
        time.sleep(6)  # longer than the time limit for a header
        assert requests.get(f"{stack.url}/health/live", timeout=5).ok
        for each in connections:
            each.sendall(GET)
            assert b"200 OK" in answer(each)
    finally:
        for each in connections:
            each.close()


def test_idle_connections_do_not_delay_a_stop() -> None:
    stack = Stack()
    try:
        eventually(lambda: responds(f"{stack.url}/health/live"), 30, "the gateway runs")
        connections = [connect(stack.port) for _ in range(50)]
        for each in connections:
            each.sendall(GET)
            answer(each)
        stack.gateway.send_signal(signal.SIGTERM)
        assert stack.gateway.wait(10) == 0
        assert [each.recv(1) for each in connections] == [b""] * 50
    finally:
        for each in connections:
            each.close()
        stack.close()
