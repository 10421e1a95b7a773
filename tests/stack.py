"""Runs the real service as processes: Valkey, the gateway and workers. Each process logs to its own file."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

import demo
from cli.serve.temporary_server import free_port
from tests.valkey import Valkey

ROOT = Path(__file__).parent.parent


def eventually(holds: Callable[[], Any], seconds: float, what: str) -> Any:
    """Call `holds` for at most `seconds`; return its first truthy result."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = holds()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"expected within {seconds} s: {what}")


def responds(url: str) -> bool:
    """Return whether the server answers a GET of `url` with a status below 400."""
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def rq_command(redis_url: str, *arguments: str) -> str:
    """Run RQ's own command `rq`; return its output."""
    environ = os.environ | {"RQ_SERIALIZER": "rq.serializers.JSONSerializer"}
    command = [sys.executable, "-m", "rq.cli", *arguments, "--url", redis_url]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Stack:
    """One Valkey server, one gateway and any number of workers; `environ` contains their settings."""

    def __init__(self, *, password: str = "", redis_folder: Path | None = None, **environ: Any) -> None:
        self.valkey = Valkey(password, redis_folder)
        self.folder = Path(tempfile.mkdtemp(prefix="stack"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {name: value for name, value in os.environ.items() if name not in ("REDIS_URL",)} | {
            "REDIS_URL": self.valkey.url,
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": str(self.port),
            "WEB_CONCURRENCY": "1",  # The default depends on the machine's cores.
            **demo.SETTINGS,
            **{name: str(value) for name, value in environ.items()},
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self.start_gateway()

    def start(self, name: str, module: str, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        """Start a Python module as a process; its output goes to NAME-N.log."""
        with open(self.folder / f"{name}-{len(self.processes)}.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env=self.environ | environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def start_gateway(self) -> None:
        self.gateway = self.start_gunicorn("gateway", "gateway.app")

    def start_gunicorn(self, name: str, module: str, **environ: str) -> subprocess.Popen[bytes]:
        arguments = ("-c", "python:gateway.gunicorn_conf", f"{module}:create_app()")
        return self.start(name, "gunicorn", *arguments, **environ)

    def start_worker(
        self, module: str = "worker", *, wait: bool = True, **environ: str
    ) -> subprocess.Popen[bytes]:
        process = self.start("worker", module, **environ)
        self.workers.append(process)
        if wait:
            self.wait_ready(len(self.running_workers()))
        return process

    def running_workers(self) -> list[subprocess.Popen[bytes]]:
        return [each for each in self.workers if each.poll() is None]

    def wait_ready(self, workers: int = 1) -> None:
        """Return when the gateway reports at least this number of workers."""

        def ready() -> bool:
            try:
                answer = requests.get(f"{self.url}/cfg", timeout=5)
                return answer.status_code == 200 and answer.json()["workers"] >= workers
            except requests.RequestException:
                return False

        try:
            eventually(ready, 120, f"{workers} workers ready")
        except AssertionError:
            raise AssertionError(self.logs()) from None

    def logs(self, kind: str = "") -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob(f"{kind}*.log")))

    def classify(self, image: bytes | Path, **form: Any) -> requests.Response:
        data = image.read_bytes() if isinstance(image, Path) else image
        return requests.post(f"{self.url}/classify", files={"blob": ("photo", data)}, data=form, timeout=120)

    def close(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.valkey.remove()
