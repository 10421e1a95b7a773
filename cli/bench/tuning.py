"""The fastest settings for a model on this machine: batch sizes, cores and precision, tried in turn."""

import json
import os
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.bench.measured_service import run_part
from cli.bench.subjects import Subject

PRECISIONS = ("float32", "bfloat16")
SIZES = (1, 2, 4, 8, 16, 32, 64)
ENOUGH = 0.97
"""Of the best speed: the smallest batch that reaches it is proposed, as callers wait less for it."""


def tune(subject: Subject, seconds: float, step: Callable[[str], None]) -> list[dict[str, Any]]:
    """The bare engine's figures for each choice; one that the worker would refuse has its `error`."""
    return [
        _try(subject, seconds, step, {"precision": precision, "threads": threads})
        for precision in PRECISIONS
        for threads in threads_to_try()
    ]


def steps() -> int:
    """How many choices are tried, for a progress bar."""
    return len(PRECISIONS) * len(threads_to_try())


def threads_to_try() -> list[int]:
    """All cores of this machine, and half of them."""
    cores = os.cpu_count() or 1
    return [cores, cores // 2] if cores > 1 else [1]


def _try(
    subject: Subject, seconds: float, step: Callable[[str], None], choice: dict[str, Any]
) -> dict[str, Any]:
    step(f"{subject.name}: {_name(choice)}, batches of 1 to {SIZES[-1]}")
    environ = {
        **subject.environ,
        "INFERENCE_PRECISION": choice["precision"],
        "INFERENCE_THREADS": str(choice["threads"]),
        "INPUT_BATCH": str(SIZES[-1]),
    }
    plan = {"images": [str(each) for each in subject.images], "seconds": seconds}
    try:
        return {**choice, **json.loads(run_part("cli.bench.bare_engine", plan, environ))}
    except RuntimeError as error:
        return {**choice, "error": str(error).strip().splitlines()[-1]}


def _name(choice: dict[str, Any]) -> str:
    return f"{choice['precision']}, {choice['threads']} core{'s' if choice['threads'] > 1 else ''}"


def propose(tried: list[dict[str, Any]]) -> dict[str, str]:
    """The settings to use: float32, unless bfloat16 is a tenth faster.

    Of cores and batch sizes, the fewest that are fast enough.
    """
    ran = [each for each in tried if "sizes" in each]
    speeds: dict[str, float] = {}
    for each in ran:
        speeds[each["precision"]] = max(speeds.get(each["precision"], 0.0), _speed(each))
    reduced = speeds.get("bfloat16", 0.0) > 1.1 * speeds["float32"]
    precision = "bfloat16" if reduced else "float32"
    enough = ENOUGH * speeds[precision]
    chosen = min(
        (each for each in ran if each["precision"] == precision and _speed(each) >= enough),
        key=lambda each: int(each["threads"]),
    )
    size = next(size for size, speed in chosen["sizes"].items() if speed >= ENOUGH * _speed(chosen))
    return {
        "INPUT_BATCH": str(size),
        "INFERENCE_PRECISION": precision,
        "INFERENCE_THREADS": str(chosen["threads"]),
    }


def _speed(each: dict[str, Any]) -> float:
    return float(max(each["sizes"].values()))


def show(tried: list[dict[str, Any]], console: Console) -> None:
    """Print what was tried, and the settings to use."""
    table = Table("model alone, images/s at batch", *map(str, SIZES), "a lone image")
    for each in tried:
        if "error" in each:
            table.add_row(_name(each), each["error"])
        else:
            speeds = (f"{speed:.1f}" for speed in each["sizes"].values())
            table.add_row(_name(each), *speeds, f"{each['lone_ms']:.1f} ms")
    console.print(table)
    console.print("use: " + " ".join(f"{name}={value}" for name, value in propose(tried).items()))
