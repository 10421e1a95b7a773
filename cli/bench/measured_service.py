"""Measures the speed, CPU time and memory of a service.

`bench` starts a service with `classification-server serve`. With the option `--url`, `bench` measures the
running service at this URL.
"""

import contextlib
import json
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

from cli.bench.card_usage import card_usage
from cli.bench.load_generator import Plan
from cli.serve.temporary_server import temporary_server

PUBLISH_SECONDS = 2.5
"""Maximum time to wait for the workers' metrics after the last answer, in seconds."""

COMMANDS = {"gateway": "gunicorn", "redis": "valkey", "worker": "-m worker"}
"""A text for each part of the service (gateway, Redis, worker) that its processes' command lines contain."""


@dataclass
class MeasuredService:
    """A service to measure.

    If `bench` started the service, `processes` contains the processes of gateway, Redis and workers.
    """

    url: str
    key: str = ""
    processes: dict[str, list[psutil.Process]] = field(default_factory=dict)

    def load(
        self, images: Sequence[Path], seconds: float, *, clients: int = 0, rate: float = 0.0
    ) -> dict[str, Any]:
        """Send requests; return the measurements of the service.

        The measurements are speed, latencies, mean batch size, the CPU time and memory of gateway, Redis and
        workers, and the usage of this machine's graphics cards.
        """
        plan = Plan(self.url, [str(each) for each in images], seconds, clients, rate, self.key)
        cpu, before = self._cpu(), self._model_totals()
        with card_usage() as cards:
            outcome = generate_load(plan)
        answered = len(outcome["times"])
        count = max(answered, 1)
        spent = {part: (used - cpu[part]) * 1000 / count for part, used in self._cpu().items()}
        inputs, runs, busy = self._model_work(before, answered)
        refused = outcome["statuses"].get("429", 0)
        return {
            "clients": clients,
            "rate": rate,
            "requests": answered,
            "per_second": _rate(outcome["moments"], seconds),
            **_percentiles(outcome["times"]),
            "cpu_ms": spent,
            "cores": {part: used * answered / 1000 / outcome["seconds"] for part, used in spent.items()},
            # If the service runs on another machine, this machine's cards are not the service's cards.
            "cards": cards if self.processes else [],
            "generator_ms": outcome["cpu_seconds"] * 1000 / count,
            "memory_mb": self._memory(),
            "mean_batch": inputs / runs if runs else None,
            "model_busy": busy / outcome["seconds"],
            "stages_ms": {name: total / count for name, total in outcome["stages"].items()},
            "refused": refused,
            "failed": sum(outcome["statuses"].values()) - answered - refused + outcome["broken"],
            "wrong": outcome["wrong"],
        }

    def devices(self) -> str:
        """Return the names of the devices that run the model, or '' if the service does not report them."""
        devices = json.loads(self._get("/cfg")).get("devices", ())
        return ", ".join(f"{each['name']} ({each['kind'].upper()})" for each in devices)

    def idle(self, seconds: float) -> dict[str, float]:
        """Return the CPU time of gateway, Redis and workers in percent of one core.

        During this measurement, no requests arrive.
        """
        time.sleep(2)  # A service that has just started may still use the CPU.
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

    def _model_work(self, before: tuple[float, float, float], answered: int) -> list[float]:
        """Wait until the workers' metrics include all answers; return how much each total has grown.

        The wait ends after `PUBLISH_SECONDS` at the latest.
        """
        end = time.monotonic() + PUBLISH_SECONDS
        while True:
            work = [now - then for now, then in zip(self._model_totals(), before, strict=True)]
            if work[0] >= answered or time.monotonic() > end:
                return work
            time.sleep(0.1)

    def _model_totals(self) -> tuple[float, float, float]:
        """Return totals of all workers: the inputs, the runs of the model, and the seconds of these runs."""
        text = self._get("/metrics")

        def metric(name: str) -> float:
            found = re.search(rf"^classification_{name} (\S+)", text, re.M)
            return float(found[1]) if found else 0.0

        return metric("batch_inputs_sum"), metric("batch_inputs_count"), metric("inference_seconds_sum")

    def _get(self, path: str) -> str:
        headers = {"X-API-Key": self.key} if self.key else {}
        request = urllib.request.Request(f"{self.url}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.read().decode())


@contextlib.contextmanager
def started(environ: dict[str, str]) -> Iterator[MeasuredService]:
    """Run `classification-server serve` with an embedded Redis server, on a free port."""
    with temporary_server(environ) as (url, pid):
        family = psutil.Process(pid).children(recursive=True)
        lines = {each: " ".join(each.cmdline()) for each in family}
        processes = {part: [p for p in family if text in lines[p]] for part, text in COMMANDS.items()}
        yield MeasuredService(url, processes=processes)


def _bytes(process: psutil.Process) -> int:
    """Return the memory of a process in bytes.

    On Linux, memory that n processes share counts as 1/n for each process.
    """
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", 0) or memory.rss)


def generate_load(plan: Plan) -> dict[str, Any]:
    """Send a plan's requests from a separate process; return the measurements of the answers."""
    command = [sys.executable, "-m", "cli.bench.load_generator"]
    done = subprocess.run(command, input=json.dumps(asdict(plan)), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"cli.bench.load_generator failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout))


def _rate(moments: Sequence[float], seconds: float) -> float:
    """Return answers per second: the slope of a line fitted to the number of answers over time.

    Dividing the number of answers by `seconds` would leave out the batch that still runs at the end. For
    example, with 2 s per batch, a measurement of 10 s would report a speed that is 10 % too low.
    """
    if len(set(moments)) < 2:
        return len(moments) / seconds
    return statistics.linear_regression(moments, range(len(moments))).slope


def _percentiles(times: Sequence[float]) -> dict[str, float | None]:
    ordered = sorted(times)
    last = len(ordered) - 1
    return {
        f"p{percent}_ms": ordered[min(int(len(ordered) * percent / 100), last)] if ordered else None
        for percent in (50, 95, 99)
    }
