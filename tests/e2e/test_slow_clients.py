"""Clients that send almost nothing are disconnected, and clients that are only slow get answers."""

import contextlib
import select
import socket
import threading
import time

import pytest

import demo
from tests.e2e.test_classify import best
from tests.stack import Stack, eventually, free_port, responds

IMAGE = (demo.SAMPLES / "siete.jpg").read_bytes()
FORM = (
    b'--x\r\nContent-Disposition: form-data; name="blob"; filename="a.jpg"\r\n\r\n' + IMAGE + b"\r\n--x--\r\n"
)
HEAD = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"


@pytest.fixture(scope="module")
def port(stack: Stack) -> int:
    """The port of a gateway with a shorter grace."""
    port = free_port()
    stack.start_gunicorn("short-grace", "tests.e2e.short_grace_gateway", SERVER_PORT=str(port))
    eventually(lambda: responds(f"http://127.0.0.1:{port}/health/ready"), 30, "the gateway is ready")
    return port


def answer(connection: socket.socket) -> bytes:
    """All bytes until the server closes or resets the connection."""
    connection.settimeout(30)
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            received += data
    return received


def drip(connection: socket.socket, data: bytes, pause: float) -> threading.Thread:
    """Send a byte at a time until an answer arrives: a reset would discard an unread answer."""

    def run() -> None:
        try:
            for start in range(len(data)):
                connection.sendall(data[start : start + 1])
                if select.select([connection], [], [], pause)[0]:
                    return
        except (OSError, ValueError):  # the connection is closed
            return

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_an_endless_header_ends_the_connection(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        dripping = drip(connection, HEAD + b"X-Slow: " + b"x" * 200, 0.2)
        assert answer(connection) == b""
    dripping.join()


def test_an_endless_header_ends_a_connection_that_was_used_before(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while not received.endswith(b'"live"}\n'):
            received += connection.recv(4096)
        dripping = drip(connection, HEAD + b"X-Slow: " + b"x" * 200, 0.2)
        assert answer(connection) == b""
    dripping.join()


def test_a_form_that_arrives_byte_by_byte_is_refused(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
        dripping = drip(connection, FORM[:200], 0.1)
        found = answer(connection).decode()
    dripping.join()
    assert found.startswith("HTTP/1.1 408 ") and "application/problem+json" in found
    assert "The form arrived too slowly" in found and "faster connection" in found


def test_a_slow_form_is_answered(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(FORM))
        pieces = 8  # sent in two seconds, twice the grace
        for number in range(pieces):
            connection.sendall(FORM[number * len(FORM) // pieces : (number + 1) * len(FORM) // pieces])
            time.sleep(0.25)
        found = answer(connection)
    assert found.startswith(b"HTTP/1.1 200 ")
    assert b"Digitus septem albus" in found.partition(b"\r\n\r\n")[2]


def test_a_refused_body_that_arrives_late_keeps_the_connection(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for _ in range(2):
            connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
            time.sleep(0.1)
            connection.sendall(b"body")
            received = b""
            while b"\r\n\r\n" not in received or not received.endswith(b"\n"):
                received += connection.recv(4096)
            assert received.startswith(b"HTTP/1.1 415 ") and b"Connection: keep-alive" in received


def test_a_caller_that_sends_a_long_refused_body_receives_the_answer(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 99000000\r\n\r\n")
        for _ in range(15):  # the answer is sent after half a second
            connection.sendall(bytes(100_000))
            time.sleep(0.1)
        assert b"HTTP/1.1 415 " in answer(connection)


def test_the_default_gateway_has_a_grace_of_half_a_minute(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(FORM) + FORM[:9])
        time.sleep(2)
        connection.sendall(FORM[9:])
        assert answer(connection).startswith(b"HTTP/1.1 200 ")
    assert best(stack.classify(IMAGE).json()) == ["Digitus septem albus"]


def test_connections_above_the_maximum_are_closed_and_others_are_served(stack: Stack) -> None:
    port = free_port()
    few = {"SERVER_PORT": str(port), "GUNICORN_CMD_ARGS": "--worker-connections 8"}
    stack.start_gunicorn("few-connections", "gateway.app", **few)
    eventually(lambda: responds(f"http://127.0.0.1:{port}/health/live"), 30, "the gateway is live")
    time.sleep(0.5)  # the gateway has noticed that the last connection is closed
    with contextlib.ExitStack() as opened:
        kept = [
            opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(8)
        ]
        time.sleep(0.2)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            assert answer(connection) == b""
        kept[0].sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer(kept[0]).startswith(b"HTTP/1.1 200 ")


def test_hundreds_of_uploads_at_a_byte_per_second_block_no_other_request(stack: Stack) -> None:
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
        assert not select.select(slow, [], [], 0)[0], "the slow uploads ended early"
    assert sorted(times)[len(times) // 2] < 0.5 and max(times) < 3
