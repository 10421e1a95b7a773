"""The whole measurement of one model, in one run: the bare engine, then the service around it."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cli.bench.measured_service import Service, started
from cli.bench.subjects import Subject

Step = Callable[[str], None]
"""Called with what is about to be measured."""

Ask = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes a plan of `cli.bench.bare_engine`, returns what it measured."""

SHARES = (0.5, 0.8)
"""Of the capacity that the closed loops found: the open loops' rates."""

ROUNDS = 3
"""How often the bare engine and the service are compared in turn: a machine's speed changes by the minute."""


def steps(clients: list[int], *, bare: bool) -> int:
    """How many things are done, for a progress bar; elsewhere, the first requests are one."""
    return (4 if bare else 1) + len(clients) + len(SHARES)


def measure(subject: Subject, clients: list[int], seconds: float, step: Step) -> dict[str, Any]:
    """Measure a model here: bare, then served, then in turn."""
    step(f"{subject.name}: decoding and model without a service")
    images = [str(each) for each in subject.images]
    with _bare_engine(subject) as ask:
        bare = ask({"images": images, "seconds": seconds, "predict": True, "sizes": [1, 32]})
        step(f"{subject.name}: the service starts")
        with started(subject.environ) as service:
            step(f"{subject.name}: nobody asks for anything")
            idle = service.idle(seconds)
            runs = loads(service, subject, clients, seconds, step)
            step(f"{subject.name}: without and with the service, in turn")
            best = max(runs[: len(clients)], key=lambda run: run["per_second"])["clients"]
            in_turn = [_turn(ask, service, subject, best, seconds) for _ in range(ROUNDS)]
    served, alone = (sum(each[name] for each in in_turn) for name in ("served", "bare"))
    return {
        "model": subject.name,
        "bare": bare,
        "idle": idle,
        "runs": runs,
        "in_turn": in_turn,
        "served_to_bare": served / alone,
        "lone_adds_ms": statistics.median(each["served_lone_ms"] - each["bare_lone_ms"] for each in in_turn),
    }


def _turn(ask: Ask, service: Service, subject: Subject, clients: int, seconds: float) -> dict[str, float]:
    """Without the service, and then with it: images a second, and milliseconds for a lone image."""
    bare = ask({"seconds": seconds})
    many = service.load(subject.images, seconds, clients=clients)
    one = service.load(subject.images, seconds / 2, clients=1)
    return {
        "bare": bare["images_per_second"],
        "served": many["per_second"],
        "bare_lone_ms": bare["lone_ms"],
        "served_lone_ms": one["p50_ms"],
    }


@contextmanager
def _bare_engine(subject: Subject) -> Iterator[Ask]:
    """A process with the engine alone, which sleeps until it is asked to measure by a plan."""
    command = [sys.executable, "-m", "cli.bench.bare_engine"]
    environ = os.environ | subject.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as process,
    ):

        def ask(plan: dict[str, Any]) -> dict[str, Any]:
            assert process.stdin and process.stdout
            print(json.dumps(plan), file=process.stdin, flush=True)
            answer: dict[str, Any] | None = json.loads(process.stdout.readline() or "null")
            if answer is None:
                complaints.seek(0)
                raise RuntimeError(f"cli.bench.bare_engine failed:\n{complaints.read()[-3000:]}")
            return answer

        yield ask


def measure_elsewhere(
    url: str, key: str, subject: Subject, clients: list[int], seconds: float, step: Step
) -> dict[str, Any]:
    """Measure a service that runs already."""
    step(f"{url}: the first requests")
    return {"model": url, "runs": loads(Service(url.rstrip("/"), key), subject, clients, seconds, step)}


def loads(
    service: Service, subject: Subject, clients: list[int], seconds: float, step: Step
) -> list[dict[str, Any]]:
    """Closed loops of so many clients, then open loops at shares of the capacity that they found."""
    service.load(subject.images, min(seconds, 2.0), clients=4)  # nobody's first request counts
    runs = []
    for count in clients:
        step(f"{subject.name}: {count} clients")
        runs.append(service.load(subject.images, seconds, clients=count))
    capacity = max(run["per_second"] for run in runs)
    for share in SHARES:
        step(f"{subject.name}: {share:.0%} of capacity, at random moments")
        runs.append(service.load(subject.images, seconds, rate=capacity * share))
    return runs
