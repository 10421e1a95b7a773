"""The fastest settings for a model on this machine: batch sizes and precision, tried one after the other."""

import json
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.models import Subject
from bench.service import run_part

PRECISIONS = ("float32", "bfloat16")
SIZES = (1, 2, 4, 8, 16, 32, 64)
ENOUGH = 0.97
"""Of the best speed: the smallest batch that reaches it is proposed, as callers wait less for it."""


def tune(subject: Subject, seconds: float, step: Callable[[str], None]) -> list[dict[str, Any]]:
    """The bare engine's figures for each precision; one that the worker would refuse has its `error`."""
    tried = []
    for precision in PRECISIONS:
        step(f"{subject.name}: {precision}, batches of 1 to {SIZES[-1]}")
        environ = {**subject.environ, "INFERENCE_PRECISION": precision, "INPUT_BATCH": str(SIZES[-1])}
        plan = {"images": [str(each) for each in subject.images], "seconds": seconds}
        try:
            tried.append({"precision": precision, **json.loads(run_part("bench.bare", plan, environ))})
        except RuntimeError as error:
            tried.append({"precision": precision, "error": str(error).strip().splitlines()[-1]})
    return tried


def propose(tried: list[dict[str, Any]]) -> dict[str, str]:
    """The settings to use: float32, unless bfloat16 is a tenth faster, and the batch that is fast enough."""
    speeds = {each["precision"]: max(each["sizes"].values()) for each in tried if "sizes" in each}
    reduced = speeds.get("bfloat16", 0.0) > 1.1 * speeds["float32"]
    precision = "bfloat16" if reduced else "float32"
    (chosen,) = (each for each in tried if each["precision"] == precision)
    size = next(size for size, speed in chosen["sizes"].items() if speed >= ENOUGH * speeds[precision])
    return {"INPUT_BATCH": str(size), "INFERENCE_PRECISION": precision}


def show(tried: list[dict[str, Any]], console: Console) -> None:
    """Print what was tried, and the settings to use."""
    table = Table("model alone, images/s at batch", *map(str, SIZES), "a lone image")
    for each in tried:
        if "error" in each:
            table.add_row(each["precision"], each["error"])
        else:
            speeds = (f"{speed:.1f}" for speed in each["sizes"].values())
            table.add_row(each["precision"], *speeds, f"{each['lone_ms']:.1f} ms")
    console.print(table)
    console.print("use: " + " ".join(f"{name}={value}" for name, value in propose(tried).items()))
