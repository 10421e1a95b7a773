"""Clients who send next to nothing are let go, and those who are only slow are served."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import requests

import demo
from tests.e2e.test_classify import best
from tests.stack import Stack, eventually, free_port

IMAGE = (demo.SAMPLES / "siete.jpg").read_bytes()
FORM = (
    b'--x\r\nContent-Disposition: form-data; name="blob"; filename="a.jpg"\r\n\r\n' + IMAGE + b"\r\n--x--\r\n"
)
HEAD = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"


@pytest.fixture(scope="module")
def port(stack: Stack) -> Iterator[int]:
    """Where a gateway listens that has less patience."""
    port = free_port()
    stack.start(
        *(
            "hurried",
            "gunicorn",
            "-c",
            "python:gateway.gunicorn_conf",
            "tests.e2e.short_grace_gateway:create_app()",
        ),
        SERVER_PORT=str(port),
    )
    eventually(lambda: is_up(port), 30, "the gateway is up")
    return port


def is_up(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).ok
    except requests.RequestException:
        return False


def answer(connection: socket.socket) -> bytes:
    """All that comes until the other side closes, or resets what is still being sent to it."""
    connection.settimeout(30)
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            received += data
    return received


def drip(connection: socket.socket, data: bytes, pause: float) -> threading.Thread:
    """Send a byte at a time until something comes back: a reset would discard an unread answer."""

    def run() -> None:
        try:
            for start in range(len(data)):
                connection.sendall(data[start : start + 1])
                if select.select([connection], [], [], pause)[0]:
                    return
        except (OSError, ValueError):  # closed
            return

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_header_that_does_not_end_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        dripping = drip(connection, HEAD + b"X-Slow: " + b"x" * 200, 0.2)
        assert answer(connection) == b""
    dripping.join()


def test_a_form_that_comes_a_byte_at_a_time_is_refused(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
        dripping = drip(connection, FORM[:200], 0.1)
        told = answer(connection).decode()
    dripping.join()
    assert told.startswith("HTTP/1.1 408 ") and "application/problem+json" in told
    assert "the form comes too slowly" in told and "faster connection" in told


def test_a_form_that_is_only_slow_is_answered(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(FORM))
        pieces = 8  # for two seconds, twice the grace
        for number in range(pieces):
            connection.sendall(FORM[number * len(FORM) // pieces : (number + 1) * len(FORM) // pieces])
            time.sleep(0.25)
        told = answer(connection)
    assert told.startswith(b"HTTP/1.1 200 ")
    assert b"Digitus septem albus" in told.partition(b"\r\n\r\n")[2]


def test_the_usual_gateway_has_the_patience_of_half_a_minute(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(FORM) + FORM[:9])
        time.sleep(2)
        connection.sendall(FORM[9:])
        assert answer(connection).startswith(b"HTTP/1.1 200 ")
    assert best(stack.classify(IMAGE).json()) == ["Digitus septem albus"]


def test_hundreds_of_uploads_at_a_byte_a_second_hold_up_nobody(stack: Stack) -> None:
    over, times = threading.Event(), []
    with contextlib.ExitStack() as opened:
        slow = [
            opened.enter_context(socket.create_connection(("127.0.0.1", stack.port), timeout=10))
            for _ in range(300)
        ]

        def drip_all() -> None:
            for number in range(len(FORM)):
                for each in slow:
                    each.sendall(FORM[number : number + 1])
                if over.wait(1):
                    return

        for each in slow:
            each.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(FORM))
        dripping = threading.Thread(target=drip_all)
        dripping.start()
        try:
            for _ in range(30):
                begun = time.monotonic()
                assert best(stack.classify(IMAGE).json()) == ["Digitus septem albus"]
                times.append(time.monotonic() - begun)
                time.sleep(0.15)
        finally:
            over.set()
            dripping.join()
        assert not select.select(slow, [], [], 0)[0], "they are still being read"
    assert sorted(times)[len(times) // 2] < 0.5 and max(times) < 3
