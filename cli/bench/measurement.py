"""Measures one model: first the engine without the service, then the service with the same model."""

import statistics
from collections.abc import Callable
from typing import Any

from cli.bench.engine_process import Measure, bare_engine
from cli.bench.measured_models import Subject
from cli.bench.measured_service import MeasuredService, started

Step = Callable[[str], None]
"""Function to call before each measurement, with the name of the measurement."""

CAPACITY_SHARES = (0.5, 0.8)
"""The request rates in open loops, as fractions of the highest speed in closed loops."""

ROUNDS = 3
"""Number of rounds. Each round measures the engine and then the service.

Several rounds are necessary, because the speed of a machine varies.
"""


def steps(clients: list[int], *, bare: bool) -> int:
    """Return the number of measurements, for the progress bar."""
    return (4 if bare else 1) + len(clients) + len(CAPACITY_SHARES)


def measure(subject: Subject, clients: list[int], seconds: float, step: Step) -> dict[str, Any]:
    """Measure a model on this machine.

    The measurements are made in this order: the engine without the service, the service, both alternately.
    """
    step(f"{subject.name}: decoding and model without the service")
    images = [str(each) for each in subject.images]
    with bare_engine(subject.environ) as measure_engine:
        bare = measure_engine({"images": images, "seconds": seconds, "predict": True, "sizes": [1, 32]})
        step(f"{subject.name}: starting the service")
        with started(subject.environ) as service:
            devices = service.devices()
            step(f"{subject.name}: idle service")
            idle = service.idle(seconds)
            runs = loads(service, subject, clients, seconds, step)
            step(f"{subject.name}: measuring the engine and the service alternately")
            best = max(runs[: len(clients)], key=lambda run: run["per_second"])["clients"]
            turns = [_turn(measure_engine, service, subject, best, seconds) for _ in range(ROUNDS)]
    served, alone = (sum(each[name] for each in turns) for name in ("served", "bare"))
    return {
        "model": subject.name,
        "devices": devices,
        "bare": bare,
        "idle": idle,
        "runs": runs,
        "in_turn": turns,
        "served_to_bare": served / alone,
        "lone_adds_ms": statistics.median(each["served_lone_ms"] - each["bare_lone_ms"] for each in turns),
    }


def _turn(
    measure_engine: Measure, service: MeasuredService, subject: Subject, clients: int, seconds: float
) -> dict[str, float]:
    """Measure the engine, then the service: images per second, and the time of a single image."""
    bare = measure_engine({"seconds": seconds})
    many = service.load(subject.images, seconds, clients=clients)
    one = service.load(subject.images, seconds / 2, clients=1)
    return {
        "bare": bare["images_per_second"],
        "served": many["per_second"],
        "bare_lone_ms": bare["lone_ms"],
        "served_lone_ms": one["p50_ms"],
    }


def measure_elsewhere(
    url: str, key: str, subject: Subject, clients: list[int], seconds: float, step: Step
) -> dict[str, Any]:
    """Measure a service that is already running."""
    step(f"{url}: sending the first requests")
    service = MeasuredService(url.rstrip("/"), key)
    runs = loads(service, subject, clients, seconds, step)
    return {"model": url, "devices": service.devices(), "runs": runs}


def loads(
    service: MeasuredService, subject: Subject, clients: list[int], seconds: float, step: Step
) -> list[dict[str, Any]]:
    """Measure a closed loop for each number of clients, then an open loop for each request rate."""
    # The first requests are slower, so they are not counted.
    service.load(subject.images, min(seconds, 2.0), clients=4)
    runs = []
    for count in clients:
        step(f"{subject.name}: {count} clients")
        runs.append(service.load(subject.images, seconds, clients=count))
    capacity = max(run["per_second"] for run in runs)
    for share in CAPACITY_SHARES:
        step(f"{subject.name}: requests at random times, at {share:.0%} of the service's capacity")
        runs.append(service.load(subject.images, seconds, rate=capacity * share))
    return runs
