"""What a small request costs, in empty Flask views: `python -m bench.yardstick`.

Milliseconds of CPU differ by a factor of two between machines, and between the hours of one that others use
too; their ratio to those of an empty view does less. An app whose one view answers a constant, behind
gunicorn's gevent worker, and the service with the light model are asked in turn by as many clients.
"""

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import psutil
from flask import Flask

from bench.load import Plan
from bench.models import Subject, light
from bench.service import run_part, started

CLIENTS, SECONDS, ROUNDS = 32, 4.0, 7

app = Flask(__name__)


@app.post("/classify")
def empty() -> list[dict[str, float]]:
    """A constant, whatever was sent."""
    return [{"Genus species leaf": 0.5}]


def main() -> None:
    """Measure and print a line a round, then the medians."""
    subject, rounds = light(), []
    with _gunicorn() as (url, process), started(subject.environ) as service:
        service.load(subject.images, 2.0, clients=CLIENTS)
        for _ in range(ROUNDS):
            before = _empty(url, process, subject)
            cpu = service.load(subject.images, SECONDS, clients=CLIENTS)["cpu_ms"]
            unit, whole = (before + _empty(url, process, subject)) / 2, sum(cpu.values())
            rounds.append((whole / unit, cpu["gateway"] / unit))
            print(f"an empty view {unit:.3f} ms, a request {whole:.3f}: {whole / unit:.2f} times", flush=True)
    whole, gateway = (statistics.median(ratios) for ratios in zip(*rounds, strict=True))
    print(f"median: a request costs {whole:.2f} empty views, of which the gateway {gateway:.2f}")


def _empty(url: str, process: psutil.Process, subject: Subject) -> float:
    """CPU milliseconds of gunicorn for a request to the empty view."""
    plan = Plan(url, [str(each) for each in subject.images], SECONDS / 2, CLIENTS)
    start = sum(process.cpu_times()[:2])
    answered = len(json.loads(run_part("bench.load", asdict(plan)))["times"])
    return (sum(process.cpu_times()[:2]) - start) * 1000 / answered


@contextmanager
def _gunicorn() -> Iterator[tuple[str, psutil.Process]]:
    """The app's address, and the process that answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "gunicorn", "-k", "gevent", "-b", place, "bench.yardstick:app"]
    with subprocess.Popen([*command, "--log-level", "warning"]) as server:
        try:
            while not (family := psutil.Process(server.pid).children()):
                time.sleep(0.1)
            time.sleep(1)  # until it listens
            yield f"http://{place}", family[0]
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
