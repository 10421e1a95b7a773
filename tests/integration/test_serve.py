"""`classification-server serve` and the real embedded server, with stand-ins for worker and gateway."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.stack import ROOT, eventually, free_port

WORKER = "import time; time.sleep(600)"
GATEWAY = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.end_headers()
HTTPServer(("127.0.0.1", int(os.environ["SERVER_PORT"])), Handler).serve_forever()
"""
LAUNCH = """
import functools, json, sys
from cli import main
from cli.serve import serve_command
scripts = json.loads(sys.argv[1])
commands = serve_command.Commands(*([sys.executable, "-c", script] for script in scripts))
serve_command.run = functools.partial(serve_command.run, commands=commands)
sys.exit(main.main(["serve", *sys.argv[2:]]))
"""


class Serve:
    """The command as a process; its output goes to a file."""

    def __init__(self, folder: Path, *options: str, worker: str = WORKER, **environ: str) -> None:
        self.folder, self.port = folder / "data", free_port()
        self.output = folder / f"output-{time.monotonic_ns()}"
        settings = {"SERVER_HOST": "127.0.0.1", "SERVER_PORT": str(self.port)}
        with open(self.output, "wb") as output:
            self.process = psutil.Popen(
                [sys.executable, "-c", LAUNCH, json.dumps([worker, GATEWAY]), *options],
                cwd=ROOT,
                env=os.environ | settings | {"SERVER_DATA_DIR": str(self.folder)} | environ,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.family: list[psutil.Process] = []

    def printed(self) -> str:
        return self.output.read_text()

    def wait_printed(self, text: str) -> None:
        eventually(lambda: text in self.printed() or not self.process.is_running(), 20, text)
        self.family = self.process.children(recursive=True)
        assert text in self.printed(), self.printed()

    def child(self, text: str) -> psutil.Process:
        return next(each for each in self.process.children() if text in " ".join(each.cmdline()))

    @property
    def redis(self) -> Redis:
        return Redis(unix_socket_path=f"{self.folder}/redis.sock")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return int(self.process.wait(20))

    def left_behind(self) -> list[psutil.Process]:
        return [each for each in self.family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


Start = Callable[..., Serve]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Start]:
    """Starts the command; stops it whatever happens."""
    started: list[Serve] = []

    def start(*options: str, **environ: Any) -> Serve:
        started.append(Serve(tmp_path, *options, **environ))
        return started[-1]

    yield start
    for each in started:
        family = [*each.family, *each.left_behind()]
        if each.process.is_running():
            each.stop()
        for process in family:
            if process.is_running():
                process.kill()


def test_start_reports_how_to_try_it_and_leaves_nothing_behind(serve: Start) -> None:
    running = serve()
    running.wait_printed("/classify")
    assert "the demo model is served" in running.printed()
    assert (
        f"curl -F blob=@demo/samples/siete.jpg http://localhost:{running.port}/classify" in running.printed()
    )
    assert len(running.family) == 3
    assert running.redis.ping()
    assert running.stop() == 0
    assert running.left_behind() == []
    assert not (running.folder / "redis.sock").exists()


def test_an_empty_number_of_gateway_processes_is_unset(serve: Start) -> None:
    running = serve(WEB_CONCURRENCY="")
    running.wait_printed("ready")
    assert "WEB_CONCURRENCY" not in running.child("HTTPServer").environ()


def test_where_keys_are_needed_the_example_has_one_and_the_key_is_not_shown(serve: Start) -> None:
    running = serve(API_KEYS="0123456789abcdef")
    running.wait_printed("curl -H 'Authorization: Bearer KEY' -F blob=@")
    assert "0123456789abcdef" not in running.printed()


def test_with_the_users_model_the_example_has_the_users_photo(serve: Start, tmp_path: Path) -> None:
    running = serve("--workers", "2", INFERENCE_MODEL=str(tmp_path / "mine.h5"))
    running.wait_printed("curl -F blob=@photo.jpg")
    assert "demo" not in running.printed()
    assert len(running.family) == 4


def test_data_outlast_a_restart(serve: Start) -> None:
    first = serve()
    first.wait_printed("ready")
    first.redis.set("kept", "yes")
    assert first.stop(signal.SIGINT) == 0
    second = serve()
    second.wait_printed("ready")
    assert second.redis.get("kept") == b"yes"


def test_killed_redis_is_restarted_with_its_data(serve: Start) -> None:
    running = serve()
    running.wait_printed("ready")
    running.redis.set("kept", "yes")
    running.child("valkey").kill()
    running.wait_printed("redis was killed by SIGKILL (its log: ")
    assert eventually(lambda: answer(running.redis), 10, "redis again") == b"yes"


def answer(redis: Redis) -> Any:
    try:
        return redis.get("kept")
    except RedisError:
        return None


def test_worker_that_is_killed_is_restarted(serve: Start) -> None:
    running = serve()
    running.wait_printed("ready")
    running.child("time.sleep").kill()
    running.wait_printed("worker was killed by SIGKILL; restarting in 0.5 s")
    eventually(lambda: len(running.process.children()) == 3, 10, "three processes")


def test_worker_with_wrong_settings_stops_all_with_2(serve: Start) -> None:
    running = serve(worker="raise SystemExit(2)")
    assert running.process.wait(20) == 2
    assert not (running.folder / "redis.sock").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals children when their parent dies")
def test_killed_command_leaves_no_process_and_can_start_again(serve: Start) -> None:
    killed = serve()
    killed.wait_printed("ready")
    killed.redis.set("kept", "yes")
    assert killed.stop(signal.SIGKILL) == -signal.SIGKILL
    again = serve()
    again.wait_printed("ready")
    assert again.redis.get("kept") == b"yes"
    assert killed.left_behind() == []


def test_second_command_on_the_same_data_is_refused(serve: Start) -> None:
    serve().wait_printed("ready")
    second = serve()
    assert second.process.wait(20) == 2
    assert (
        second.printed()
        .splitlines()[-1]
        .startswith("classification-server: SERVER_DATA_DIR: expected a folder that no other server uses")
    )


def test_port_in_use_is_reported_before_anything_starts(serve: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        refused = serve("--port", str(port))
        assert refused.process.wait(20) == 2
    assert refused.printed() == (
        f"classification-server: SERVER_PORT: port {port} is already in use."
        " Choose another port with --port or SERVER_PORT.\n"
    )
    assert not refused.folder.exists()


def test_the_users_redis_is_used_and_not_stopped(serve: Start, valkey: Any) -> None:
    running = serve(REDIS_URL=valkey.url)
    running.wait_printed("ready")
    assert len(running.family) == 2
    assert running.stop() == 0
    assert valkey.client.ping()


def test_the_webhook_sender_is_started_where_there_is_a_secret(serve: Start) -> None:
    running = serve(WEBHOOK_SECRET="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", WEBHOOK_WORKERS="1")
    running.wait_printed("ready")
    eventually(lambda: running.redis.scard("rq:workers:webhooks") == 1, 20, "RQ knows the sender")
    running.family = running.process.children(recursive=True)
    assert running.stop() == 0
    assert running.left_behind() == []
