"""Finds the fastest settings for a model on this machine.

The module measures combinations of batch size, number of threads and precision.
"""

import os
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.bench.engine_process import bare_engine
from cli.bench.measured_models import Subject

PRECISIONS = ("float32", "bfloat16")
SIZES = (1, 2, 4, 8, 16, 32, 64)
ENOUGH = 0.97
"""Minimum speed that the chosen settings must reach, divided by the best measured speed.

Among the settings that reach the minimum speed, fewer threads and smaller batches are preferred.
"""

MIN_BFLOAT16_GAIN = 1.1
"""The minimum ratio of bfloat16's speed to float32's speed. With a lower ratio, float32 is chosen."""


def tune(subject: Subject, seconds: float, step: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure the engine with each combination of settings.

    A worker may refuse a combination. The result then contains an `error` instead of measurements.
    """
    return [_try(subject, seconds, step, precision, threads) for precision, threads in _choices()]


def steps() -> int:
    """Return the number of combinations of settings, for the progress bar."""
    return len(_choices())


def _choices() -> list[tuple[str, int]]:
    """Return the combinations of settings to measure.

    Each precision is measured with all CPU cores, and with half of the cores.
    """
    cores = os.cpu_count() or 1
    threads = (cores, cores // 2) if cores > 1 else (1,)
    return [(precision, each) for precision in PRECISIONS for each in threads]


def _try(
    subject: Subject, seconds: float, step: Callable[[str], None], precision: str, threads: int
) -> dict[str, Any]:
    choice = {"precision": precision, "threads": threads}
    step(f"{subject.name}: {_name(choice)}, batches of 1 to {SIZES[-1]}")
    settings = {"INFERENCE_PRECISION": precision, "INFERENCE_THREADS": str(threads)}
    environ = subject.environ | settings | {"INPUT_BATCH": str(SIZES[-1])}
    plan = {"images": [str(each) for each in subject.images], "seconds": seconds}
    try:
        with bare_engine(environ) as measure:
            return choice | measure(plan)
    except RuntimeError as error:
        return choice | {"error": str(error).strip().splitlines()[-1]}


def _name(choice: dict[str, Any]) -> str:
    return f"{choice['precision']}, {choice['threads']} core{'s' if choice['threads'] > 1 else ''}"


def propose(tried: list[dict[str, Any]]) -> dict[str, str]:
    """Return the settings to use: the fewest threads and the smallest batch with nearly the best speed.

    Callers wait a shorter time for their answers if batches are small. The precision is float32, unless
    bfloat16 is more than 10 % faster than float32.
    """
    float32, bfloat16 = (_measured(tried, precision) for precision in PRECISIONS)
    choices = bfloat16 if _best(bfloat16) > MIN_BFLOAT16_GAIN * _best(float32) else float32
    enough = ENOUGH * _best(choices)
    fast = (each for each in choices if _speed(each) >= enough)
    chosen = min(fast, key=lambda each: int(each["threads"]))
    size = next(size for size, speed in chosen["sizes"].items() if speed >= ENOUGH * _speed(chosen))
    return {
        "INPUT_BATCH": str(size),
        "INFERENCE_PRECISION": chosen["precision"],
        "INFERENCE_THREADS": str(chosen["threads"]),
    }


def _measured(tried: list[dict[str, Any]], precision: str) -> list[dict[str, Any]]:
    return [each for each in tried if each["precision"] == precision and each.get("sizes")]


def _best(choices: list[dict[str, Any]]) -> float:
    return max(map(_speed, choices), default=0.0)


def _speed(choice: dict[str, Any]) -> float:
    return float(max(choice["sizes"].values()))


def show(tried: list[dict[str, Any]], console: Console) -> None:
    """Print a table of the measurements, and the fastest settings."""
    table = Table("images/s of the model, by batch size", *map(str, SIZES), "time of a single image")
    for each in tried:
        if "error" in each:
            table.add_row(_name(each), each["error"])
        else:
            speeds = (f"{speed:.1f}" for speed in each["sizes"].values())
            table.add_row(_name(each), *speeds, f"{each['lone_ms']:.1f} ms")
    console.print(table)
    if any("sizes" in each for each in tried):
        console.print(
            "fastest settings: " + " ".join(f"{key}={value}" for key, value in propose(tried).items())
        )
