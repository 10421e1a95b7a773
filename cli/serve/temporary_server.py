"""A whole service for the length of one command: `serve` as a process, on a port and data of its own."""

import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.serve.process import Kept, Part
from cli.serve.readiness import ASK_SECONDS, lacking
from cli.serve.serve_command import python_path

NOT_FOR_IT = ("REDIS_URL", "API_KEYS", "API_KEYS_FILE", "RATE_LIMIT", "WEBHOOK_SECRET")
"""Settings of a service that others call too; this one has a single caller on this machine."""

STOP_SECONDS = 60.0


@contextlib.contextmanager
def own_server(environ: Mapping[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """Start it with these settings over the process's own; yields its address and its process's id.

    Raises:
        RuntimeError: it did not start; the message has its log.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="classification-") as folder:
        ours = {"SERVER_HOST": "127.0.0.1", "SERVER_PORT": str(port), "SERVER_DATA_DIR": f"{folder}/data"}
        kept = {name: value for name, value in os.environ.items() if name not in NOT_FOR_IT}
        log = Path(folder, "log")
        server = Kept(
            Part(
                name="the server",
                command=[sys.executable, "-P", "-m", "cli.main", "serve"],
                environ=kept | python_path() | dict(environ or {}) | ours,
                log=log,
            )
        )
        try:
            server.start()
            _wait_ready(server, port, log)
            assert server.process is not None  # noqa: S101 (it was started)
            yield f"http://127.0.0.1:{port}", server.process.pid
        finally:
            _stop(server)


def _wait_ready(server: Kept, port: int, log: Path) -> None:
    while lacking("127.0.0.1", port) is not None:
        if server.is_gone():
            raise RuntimeError(f"the service did not start:\n{log.read_text(errors='replace').strip()}")
        time.sleep(ASK_SECONDS)


def _stop(server: Kept) -> None:
    try:
        if server.process is not None:
            server.process.terminate()
            server.process.wait(STOP_SECONDS)
    finally:
        server.kill()
