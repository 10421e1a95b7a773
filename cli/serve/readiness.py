"""Reports when the service is ready, and prints an example request."""

import contextlib
import http.client
import json
import time
from pathlib import Path

from cli import echo
from shared.settings import Settings

POLL_SECONDS = 0.25
REPORT_SECONDS = 15.0
"""Minimum time between two messages that the service is not ready, in seconds."""


class ReadinessReporter:
    """Checks whether the service is ready; once the service is ready, prints an example request."""

    def __init__(self, settings: Settings, *, is_demo: bool) -> None:
        self._host = local_host(settings.server_host)
        self._port = settings.server_port
        self._key = "-H 'Authorization: Bearer KEY' " if settings.api_keys or settings.api_keys_file else ""
        self._is_demo = is_demo
        self._started = self._polled = self._reported = time.monotonic()
        self._is_ready = False

    def __call__(self) -> None:
        """Ask the gateway whether the service is ready.

        If the last request was less than `POLL_SECONDS` ago, the method does nothing.
        """
        now = time.monotonic()
        if self._is_ready or now - self._polled < POLL_SECONDS:
            return
        self._polled = now
        missing = missing_for_readiness(self._host, self._port)
        if missing is None:
            self._is_ready = True
            echo(f"ready after {now - self._started:.1f} s. Try it:")
            self._print_example()
        elif now - self._reported >= REPORT_SECONDS:
            self._reported = now
            echo(f"not ready yet: {missing}")

    def _print_example(self) -> None:
        host = "localhost" if self._host in ("127.0.0.1", "::1") else self._host
        host = f"[{host}]" if ":" in host else host
        with contextlib.suppress(OSError, ValueError):
            url = f"http://{host}:{self._port}/classify"
            print(f"\n    curl {self._key}-F blob=@{self._photo()} {url}\n", flush=True)

    def _photo(self) -> str:
        if not self._is_demo:
            return "photo.jpg"
        import demo

        photo = demo.SAMPLES / "siete.jpg"
        with contextlib.suppress(ValueError):
            photo = photo.relative_to(Path.cwd())
        return str(photo)


def missing_for_readiness(host: str, port: int) -> str | None:
    """Return None if the service at this address is ready; otherwise describe what is not ready."""
    # urllib is not used, because it would send the request to a proxy that the environment names.
    connection = http.client.HTTPConnection(host, port, timeout=2)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/health/ready")
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return "the gateway does not answer"
    if answer.status == 200:
        return None
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["detail"])
    return f"the gateway answers with status {answer.status}"


def local_host(listening: str) -> str:
    """Return the address at which a program on this machine can reach a server.

    The server listens on the address `listening`.
    """
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(listening, listening)  # noqa: S104
