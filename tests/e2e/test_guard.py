"""API keys and rate limits on a real gunicorn with two processes, without a worker."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.stack import ROOT, Stack, eventually

KEY, LIMIT = "0123456789abcdef-of-a-phone", 20
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    running = Stack(API_KEYS=f"phone:{KEY}", RATE_LIMIT=f"{LIMIT}/hour", WEB_CONCURRENCY=2, LOG_FORMAT="json")

    def is_up() -> bool:
        try:
            return requests.get(f"{running.url}/health/live", timeout=5).ok
        except requests.RequestException:
            return False

    try:
        eventually(is_up, 30, "gateway up")
        yield running
    finally:
        running.close()


def test_the_refusal_does_not_wait_for_the_body(stack: Stack) -> None:
    form = f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {10**7}"
    with socket.create_connection(("127.0.0.1", stack.port), timeout=20) as connection:
        connection.sendall(f"POST /classify HTTP/1.1\r\nHost: x\r\n{form}\r\n\r\n".encode())
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 401 ") and "WWW-Authenticate: Bearer\r\n" in answer


def test_the_processes_share_one_limit_under_a_burst(stack: Stack) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(
                lambda _: requests.get(f"{stack.url}/docs", headers=AUTHORIZED, timeout=20), range(3 * LIMIT)
            )
        )
    statuses = [each.status_code for each in answers]
    assert (statuses.count(200), statuses.count(429)) == (LIMIT, 2 * LIMIT)
    assert all("Retry-After" in each.headers for each in answers if each.status_code == 429)
    assert requests.get(f"{stack.url}/docs", timeout=5).status_code == 401


def test_the_log_names_the_caller_and_never_the_key(stack: Stack) -> None:
    requests.get(f"{stack.url}/classes", headers=AUTHORIZED, timeout=5)
    log = eventually(lambda: "/classes" in stack.logs("gateway") and stack.logs("gateway"), 10, "the line")
    owners = [json.loads(line)["owner"] for line in log.splitlines() if "GET /classes" in line]
    assert owners == ["phone"] and KEY not in log


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"API_KEYS": "phone:hunter2"}, ["API_KEYS", "16 or more characters, got 7"]),
        ({"API_KEYS_FILE": "/nowhere/keys"}, ["API_KEYS_FILE", "/nowhere/keys", "can't be read"]),
        ({"RATE_LIMIT": "often"}, ["RATE_LIMIT", "'often'", "100/minute"]),
    ],
)
def test_an_invalid_key_or_limit_stops_gunicorn(environ: dict[str, str], words: list[str]) -> None:
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "python:gateway.gunicorn_conf",
        "gateway.app:create_app()",
    ]
    settings = {"PATH": "/usr/bin:/bin", "REDIS_URL": "redis://named-not-reached"} | environ
    done = subprocess.run(
        command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=30, check=False
    )
    (line,) = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 2 and all(word in line for word in words)
    assert "hunter2" not in line
