"""Runs a whole service during one command.

The service is a `serve` process with its own port and data.
"""

import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli import CommandError
from cli.serve.process import ManagedProcess, ProcessSpec
from cli.serve.readiness import POLL_SECONDS, missing_for_readiness
from cli.serve.serve_command import python_path

EXCLUDED_SETTINGS = ("REDIS_URL", "API_KEYS", "API_KEYS_FILE", "RATE_LIMIT", "WEBHOOK_SECRET")
"""Environment variables that a temporary service does not inherit.

A temporary service has its own Redis server and only one caller.
"""

STOP_SECONDS = 60.0
"""Maximum time for the service to stop, in seconds."""


@contextlib.contextmanager
def temporary_server(environ: Mapping[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """Run a service with the environment's settings and `environ`; yield its address and process id.

    Raises:
        CommandError: the service did not start. The error's message contains the service's log.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="classification-") as folder:
        own = {"SERVER_HOST": "127.0.0.1", "SERVER_PORT": str(port), "SERVER_DATA_DIR": f"{folder}/data"}
        inherited = {name: value for name, value in os.environ.items() if name not in EXCLUDED_SETTINGS}
        spec = ProcessSpec(
            name="the server",
            command=[sys.executable, "-P", "-m", "cli.main", "serve"],
            environ=inherited | python_path() | dict(environ or {}) | own,
            log=Path(folder, "log"),
        )
        server = ManagedProcess(spec)
        try:
            server.start()
            assert server.process is not None  # noqa: S101 (it was started)
            _wait_until_ready(server, port)
            yield f"http://127.0.0.1:{port}", server.process.pid
        finally:
            _stop(server)


def free_port() -> int:
    """Return a port of this machine on which no server listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: ManagedProcess, port: int) -> None:
    while missing_for_readiness("127.0.0.1", port) is not None:
        if server.has_ended():
            log = server.spec.log.read_text(errors="replace").strip() if server.spec.log else ""
            raise CommandError(f"the service did not start:\n{log}")
        time.sleep(POLL_SECONDS)


def _stop(server: ManagedProcess) -> None:
    try:
        if server.process is not None:
            server.process.terminate()
            server.process.wait(STOP_SECONDS)
    finally:
        server.kill()
