"""Tells the person when the service answers, and how to try it."""

import contextlib
import http.client
import json
import time
from pathlib import Path

from cli import echo
from shared.settings import Settings

ASK_SECONDS = 0.25
PATIENCE_SECONDS = 15.0
"""How often to say what is still being waited for."""


class Ready:
    """Called every moment, it asks the gateway until the service is ready, says so once, and rests."""

    def __init__(self, settings: Settings, *, is_demo: bool) -> None:
        self._host = local_host(settings.server_host)
        self._port = settings.server_port
        self._key = "-H 'Authorization: Bearer KEY' " if settings.api_keys or settings.api_keys_file else ""
        self._is_demo = is_demo
        self._began = self._asked = self._told = time.monotonic()
        self._is_ready = False

    def __call__(self) -> None:
        """Ask, if it is time to."""
        now = time.monotonic()
        if self._is_ready or now - self._asked < ASK_SECONDS:
            return
        self._asked = now
        lacks = lacking(self._host, self._port)
        if lacks is None:
            self._is_ready = True
            echo(f"ready after {now - self._began:.1f} s. Try it:")
            self._print_example()
        elif now - self._told >= PATIENCE_SECONDS:
            self._told = now
            echo(f"not ready yet: {lacks}")

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


def lacking(host: str, port: int) -> str | None:
    """Ask the gateway there; return None if the service is ready, or what it lacks."""
    # Not urllib: a proxy in the environment is not for our own port.
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
    return f"the gateway answers {answer.status}"


def local_host(listening: str) -> str:
    """Where to reach a server on this machine that listens on that address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(listening, listening)  # noqa: S104
