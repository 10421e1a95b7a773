"""The whole measurement of one model, in one run: the bare engine, then the service around it."""

import json
from collections.abc import Callable
from typing import Any

from bench.models import Subject
from bench.service import Service, run_part, started

Step = Callable[[str], None]
"""Called with what is about to be measured."""

SHARES = (0.5, 0.8)
"""Of the capacity that the closed loops found: the open loops' rates."""


def steps(clients: list[int], *, bare: bool) -> int:
    """How many things are done, for a progress bar; elsewhere, the first requests are one."""
    return (3 if bare else 1) + len(clients) + len(SHARES)


def measure(subject: Subject, clients: list[int], seconds: float, step: Step) -> dict[str, Any]:
    """Measure a model here: bare, then served."""
    step(f"{subject.name}: decoding and model without a service")
    plan = {
        "images": [str(each) for each in subject.images],
        "seconds": seconds,
        "predict": True,
        "sizes": [1, 32],
    }
    bare = json.loads(run_part("bench.bare", plan, subject.environ))
    step(f"{subject.name}: the service starts")
    with started(subject.environ) as service:
        step(f"{subject.name}: nobody asks for anything")
        idle = service.idle(seconds)
        runs = loads(service, subject, clients, seconds, step)
    best = max(run["per_second"] for run in runs)
    return {
        "model": subject.name,
        "bare": bare,
        "idle": idle,
        "runs": runs,
        "served_to_bare": best / bare["images_per_second"],
    }


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
