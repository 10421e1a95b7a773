"""The service under measurement: started as a user starts it, or one that runs elsewhere."""

import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from cli.bench.load_generator import Plan
from cli.serve.temporary_server import temporary_server

FLUSH_SECONDS = 2.5
"""Workers tell their counts within this time."""

PARTS = {"gateway": "gunicorn", "redis": "valkey", "worker": "-m worker"}


@dataclass
class Service:
    """A service at `url`; `processes` are empty where it runs elsewhere."""

    url: str
    key: str = ""
    processes: dict[str, list[psutil.Process]] = field(default_factory=dict)

    def load(
        self, images: Sequence[Path], seconds: float, *, clients: int = 0, rate: float = 0.0
    ) -> dict[str, Any]:
        """Put load on it; returns rates, times in milliseconds, CPU and memory by part, the mean batch."""
        plan = Plan(self.url, [str(each) for each in images], seconds, clients, rate, self.key)
        cpu, before = self._cpu(), self._model()
        outcome = json.loads(run_part("cli.bench.load_generator", asdict(plan)))
        count = max(len(outcome["times"]), 1)
        spent = {part: (used - cpu[part]) * 1000 / count for part, used in self._cpu().items()}
        inputs, runs, busy = self._done_since(before, len(outcome["times"]))
        refused = sum(amount for status, amount in outcome["statuses"].items() if status == "429")
        return {
            "clients": clients,
            "rate": rate,
            "requests": len(outcome["times"]),
            "per_second": _rate(outcome["moments"], seconds),
            **_percentiles(outcome["times"]),
            "cpu_ms": spent,
            "generator_ms": outcome["cpu_seconds"] * 1000 / count,
            "memory_mb": self._memory(),
            "mean_batch": inputs / runs if runs else None,
            "model_busy": busy / outcome["seconds"],
            "stages_ms": {name: total / count for name, total in outcome["stages"].items()},
            "refused": refused,
            "failed": sum(outcome["statuses"].values()) - len(outcome["times"]) - refused + outcome["broken"],
            "wrong": outcome["wrong"],
        }

    def idle(self, seconds: float) -> dict[str, float]:
        """Percent of a core that each part uses while nobody asks for anything."""
        time.sleep(2)  # what the start has left to do
        before = self._cpu()
        time.sleep(seconds)
        return {part: 100 * (used - before[part]) / seconds for part, used in self._cpu().items()}

    def _cpu(self) -> dict[str, float]:
        return {
            part: sum(sum(each.cpu_times()[:2]) for each in processes)
            for part, processes in self.processes.items()
        }

    def _memory(self) -> dict[str, float]:
        return {part: sum(map(_bytes, processes)) / 1e6 for part, processes in self.processes.items()}

    def _done_since(self, before: tuple[float, float, float], answered: int) -> list[float]:
        """What the model has done, once the workers have told of as many inputs as were answered."""
        latest = time.monotonic() + FLUSH_SECONDS
        while True:
            done = [now - then for now, then in zip(self._model(), before, strict=True)]
            if done[0] >= answered or time.monotonic() > latest:
                return done
            time.sleep(0.1)

    def _model(self) -> tuple[float, float, float]:
        """Inputs and runs of the model so far, and its seconds, of all workers."""
        ask = urllib.request.Request(
            f"{self.url}/metrics", headers={"X-API-Key": self.key} if self.key else {}
        )
        with urllib.request.urlopen(ask, timeout=30) as answer:
            text = answer.read().decode()

        def told(name: str) -> float:
            found = re.search(rf"^classification_{name} (\S+)", text, re.M)
            return float(found[1]) if found else 0.0

        return told("batch_inputs_sum"), told("batch_inputs_count"), told("inference_seconds_sum")


@contextlib.contextmanager
def started(environ: dict[str, str]) -> Iterator[Service]:
    """`classification-server serve` with an embedded Redis, on a free port."""
    with temporary_server(environ) as (url, pid):
        yield Service(url, processes=_parts(psutil.Process(pid)))


def _bytes(process: psutil.Process) -> int:
    """Resident memory; what processes share is divided among them, where the system tells."""
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", 0) or memory.rss)


def _parts(process: psutil.Process) -> dict[str, list[psutil.Process]]:
    family = process.children(recursive=True)
    lines = {each: " ".join(each.cmdline()) for each in family}
    return {part: [each for each in family if word in lines[each]] for part, word in PARTS.items()}


def run_part(module: str, plan: dict[str, Any], environ: dict[str, str] | None = None) -> str:
    """Run a module of this package as a process, the plan on its stdin; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps(plan),
        env=os.environ | (environ or {}) | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def _rate(moments: Sequence[float], seconds: float) -> float:
    """Answers a second: the slope of their count over time.

    A count divided by the seconds would leave out the batch that runs at the end: of a model that takes
    two seconds for 32 images, a tenth of ten seconds.
    """
    if len(set(moments)) < 2:
        return len(moments) / seconds
    return statistics.linear_regression(moments, range(len(moments))).slope


def _percentiles(times: Sequence[float]) -> dict[str, float | None]:
    ordered = sorted(times)
    return {
        f"p{percent}_ms": ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]
        if ordered
        else None
        for percent in (50, 95, 99)
    }
