"""Run the service at 120 % of its capacity and check its answers and memory: `python -m tests.soak`.

Interactive requests are sent at random moments, independently of the answers (`cli.bench.load_generator`).
Bulk jobs run at the same time. Some refused callers wait for the time in `Retry-After` and try again. The
rate is set repeatedly from the number of answers, because other work on the machine changes its capacity.
"""

import argparse
import itertools
import json
import math
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests

import demo
from cli.bench.load_generator import Plan
from cli.bench.measured_service import generate_load
from shared.queue import BULK, INTERACTIVE
from shared.settings import Settings
from tests.chaos.load import WebhookReceiver
from tests.e2e.conftest import SECRET
from tests.e2e.slow_model import create_slow_model
from tests.job_queue import JobQueue
from tests.stack import Stack, eventually

LIMITS = {
    "SCHEDULER_QUEUE_SIZE": 48,
    "BULK_QUEUE_SIZE": 200,
    "MAX_QUEUE_BYTES": 4_000_000,  # more than these jobs need: small images must not crowd out large images
    "RESULT_TTL": 20,  # short, so that the data of ended jobs soon reach their full size
    "REQUEST_TIMEOUT": 30,
    "INPUT_BATCH": 32,
    "WEBHOOK_SECRET": SECRET,
    "WEBHOOK_ALLOW": "127.0.0.1",
}
MAX_WAIT = 3
"""Maximum wait of 99 % of the requests, as a multiple of the time for a full queue at the slowest pace."""

OVERLOAD = 1.2
RETRYING_CALLERS = 12
"""Number of callers who try again after the time in `Retry-After`."""

MIN_RETRIES = 5
"""Minimum number of retries from which the share of accepted retries is checked."""

PIECE_SECONDS = 15.0
"""Time in seconds between two changes of the rate."""

WARM_UP_SHARE = 0.4
"""The warm-up's share of the time: allocators, caches and stored results grow at first."""

MAX_GROWTH_MB, MAX_GROWTH_SHARE = 16.0, 0.05
"""Maximum growth of memory from the first to the last third of the time after the warm-up.

The maximum is the sum of the megabytes and of the share of the earlier memory. It shows a leak of a kilobyte
per request within two minutes, and a leak of 40 bytes per request within an hour.
"""

IMAGES = sorted((demo.SAMPLES / "digits").glob("*.png"))
EXPECTED = json.loads((demo.SAMPLES / "expected.json").read_text())
CLASSES = [EXPECTED[f"digits/{path.name}"]["classes"] for path in IMAGES]


@dataclass
class Report:
    """The measurements of a soak; times in milliseconds, memory in megabytes."""

    capacity: float = 0.0
    offered: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    wrong: int = 0
    broken: int = 0
    bulk_accepted: int = 0
    bulk_refused: int = 0
    bulk_right: int = 0
    without_webhook: int = 0
    retries: int = 0
    retries_accepted: int = 0
    max_waiting: dict[str, int] = field(default_factory=dict)
    max_bytes: int = 0
    memory: dict[str, list[float]] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)

    def growth(self, part: str) -> tuple[float, float]:
        """Return a part's median memory in the first and the last third of the time after the warm-up."""
        values = self.memory[part][int(len(self.memory[part]) * WARM_UP_SHARE) :]
        third = max(len(values) // 3, 1)
        return statistics.median(values[:third]), statistics.median(values[-third:])

    def faults(self) -> list[str]:
        """Return the expectations that were not met."""
        refused = self.statuses.get("429", 0)
        met = {
            "every answer is 200 or 429": set(self.statuses) <= {"200", "429"} and not self.broken,
            "some requests were refused, so the load exceeded the capacity": refused > 0,
            "no answer is wrong": self.wrong == 0 and not self.unexpected,
            "every accepted bulk job has its right answer": self.bulk_right == self.bulk_accepted > 0,
            "every ended bulk job was reported to its webhook": self.without_webhook == 0,
            "most callers who wait for Retry-After are accepted": self.retries < MIN_RETRIES
            # A share that is half by chance may be lower by two standard deviations of a binomial count.
            or self.retries_accepted > self.retries / 2 - math.sqrt(self.retries),
            "99 % of the answers take no longer than a full queue": self.p99() < self.max_p99(),
            "the number of waiting jobs is limited": self.max_waiting.get(INTERACTIVE, 0)
            <= LIMITS["SCHEDULER_QUEUE_SIZE"]
            and self.max_waiting.get(BULK, 0) <= LIMITS["BULK_QUEUE_SIZE"],
            "the bytes of waiting jobs are limited": 0 < self.max_bytes <= LIMITS["MAX_QUEUE_BYTES"],
        }
        for part in self.memory:
            before, after = self.growth(part)
            met[f"the memory of the {part} does not grow"] = (
                after - before < MAX_GROWTH_MB + MAX_GROWTH_SHARE * before
            )
        return [expectation for expectation, is_met in met.items() if not is_met]

    def p99(self) -> float:
        """Return the 99th percentile of the interactive answers' times."""
        return statistics.quantiles(self.times, n=100)[98] if len(self.times) > 1 else 0.0

    def max_p99(self) -> float:
        """Return the maximum for `p99` in milliseconds, from the pace of the slowest piece."""
        ahead = LIMITS["SCHEDULER_QUEUE_SIZE"] + 2 * LIMITS["INPUT_BATCH"]
        return MAX_WAIT * ahead / min(self.answered) * 1000

    def __str__(self) -> str:
        """Return the measurements, one per line."""
        sent = sum(self.statuses.values())
        lines = [
            f"capacity at the start, closed loop  {self.capacity:.0f} requests/s",
            f"offered, requests/s                 {' '.join(f'{each:.0f}' for each in self.offered)}",
            f"interactive requests                {sent:,}: {self.statuses}",
            f"answered, requests/s                {' '.join(f'{each:.0f}' for each in self.answered)}",
            f"interactive p50, p99, maximum p99   {statistics.median(self.times):.0f}, {self.p99():.0f}, "
            f"{self.max_p99():.0f} ms",
            f"bulk accepted, right, refused       {self.bulk_accepted} {self.bulk_right} {self.bulk_refused}",
            f"bulk ends without a webhook         {self.without_webhook}",
            f"accepted after Retry-After          {self.retries_accepted} of {self.retries}",
            f"maximum waiting, maximum bytes      {self.max_waiting}, {self.max_bytes:,}",
            f"wrong answers, broken connections   {self.wrong}, {self.broken}",
        ]
        for part in self.memory:
            before, after = self.growth(part)
            lines.append(f"{part + ', MB early, late':<36}{before:.1f}, {after:.1f}")
        return "\n".join([*lines, *self.unexpected])


@dataclass
class Soak:
    """The running parts of one soak; the methods for threads loop until `over`."""

    stack: Stack
    report: Report
    sender: "subprocess.Popen[bytes]"
    receiver: WebhookReceiver = field(default_factory=WebhookReceiver)
    rate: float = 0.0
    answered: int = 0
    """The retrying callers' requests that got an answer."""

    over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Record memory every second and the queue's metrics ten times a second."""
        queue = JobQueue(self.stack.valkey.client, Settings())
        parts, report = self._processes(), self.report
        for number in itertools.count():
            if self.over.wait(0.1):
                return
            metrics = queue.metrics()
            for name, waiting in metrics.waiting.items():
                report.max_waiting[name] = max(report.max_waiting.get(name, 0), waiting)
            report.max_bytes = max(report.max_bytes, metrics.image_bytes)
            if number % 10 == 0:
                for part, processes in parts.items():
                    megabytes = sum(each.memory_info().rss for each in processes) / 2**20
                    report.memory.setdefault(part, []).append(megabytes)

    def _processes(self) -> dict[str, list[psutil.Process]]:
        gateway, sender = psutil.Process(self.stack.gateway.pid), psutil.Process(self.sender.pid)
        valkey = self.stack.valkey.process
        found = {
            "gateway": [gateway, *gateway.children()],
            "webhook sender": [sender, *sender.children(recursive=True)],
            "worker": [psutil.Process(each.pid) for each in self.stack.workers],
        }
        return found | ({"Valkey": [psutil.Process(valkey.pid)]} if valkey else {})

    def bulk(self) -> None:
        """Submit the images as jobs, at a twentieth of the rate, and check their answers."""
        while not self.over.is_set():
            files = [("blob", (path.name, path.read_bytes())) for path in IMAGES]
            form = {"top_n": "1", "webhook": self.receiver.url}
            answer = requests.post(f"{self.stack.url}/jobs", files=files, data=form, timeout=60)
            if answer.status_code == 202:
                ids = [job["id"] for job in answer.json()["jobs"]]
                self.report.bulk_accepted += len(ids)
                self._collect(dict(zip(ids, CLASSES, strict=True)))
            elif answer.status_code == 429:
                self.report.bulk_refused += len(files)
                self.over.wait(int(answer.headers["Retry-After"]))
            else:
                self.report.unexpected.append(f"POST /jobs: {answer.status_code} {answer.text[:200]}")
            self.over.wait(len(files) * 20 / self.rate)

    def _collect(self, waiting: dict[str, list[str]]) -> None:
        end = time.monotonic() + 120
        while waiting and time.monotonic() < end:
            states = requests.get(f"{self.stack.url}/jobs?ids={','.join(waiting)}&wait=5", timeout=60).json()
            for job in states["jobs"]:
                if job["status"] not in ("queued", "started"):
                    self._check(job, waiting.pop(job["id"]))
        self.report.unexpected += [f"job {job_id} did not end" for job_id in waiting]

    def await_webhooks(self) -> None:
        """Wait up to a minute for the webhooks of the bulk jobs; count the missing webhooks."""
        end = time.monotonic() + 60
        while len(self.receiver.received) < self.report.bulk_accepted and time.monotonic() < end:
            time.sleep(0.1)
        self.report.without_webhook = self.report.bulk_accepted - len(self.receiver.received)

    def _check(self, job: dict[str, object], classes: list[str]) -> None:
        result = job.get("result")
        found = [each["predictions"][0]["class"] for each in result["regions"]] if result else None
        if found == classes:
            self.report.bulk_right += 1
        else:
            self.report.unexpected.append(f"expected {classes}, got {json.dumps(job)[:300]}")

    def retry(self) -> None:
        """Classify images; after a refusal wait for the time in `Retry-After` and try once more."""
        for path in itertools.cycle(IMAGES):
            if self.over.wait(0.05):
                return
            answer = self.stack.classify(path)
            if answer.status_code == 429:
                time.sleep(int(answer.headers["Retry-After"]))
                self.report.retries += 1
                answer = self.stack.classify(path)
                self.report.retries_accepted += answer.status_code == 200
            self.answered += answer.status_code == 200

    def interactive(self, seconds: float) -> None:
        """Send more requests than were answered before, in pieces with their own rates."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 1:
            piece, before = min(left, PIECE_SECONDS), self.answered
            outcome = self.load(piece, rate=self.rate)
            self.report.offered.append(self.rate)
            answered = (len(outcome["moments"]) + self.answered - before) / piece
            refused = outcome["statuses"].get("429", 0)
            self.report.answered.append(answered)
            self.rate = OVERLOAD * (answered if refused else self.rate)

    def load(self, seconds: float, **how: float) -> dict[str, object]:
        """Put load on the service and add what came back to the report."""
        plan = Plan(self.stack.url, [str(each) for each in IMAGES], seconds, expected=CLASSES, **how)
        outcome = generate_load(plan)
        report = self.report
        report.times += outcome["times"]
        report.wrong += outcome["wrong"]
        report.broken += outcome["broken"]
        for status, amount in outcome["statuses"].items():
            report.statuses[status] = report.statuses.get(status, 0) + amount
        return outcome


@contextmanager
def _run_in_threads(over: threading.Event, *loops: Callable[[], None]) -> Iterator[None]:
    threads = [threading.Thread(target=loop) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def soak(seconds: float) -> Report:
    """Measure the capacity of the service for a few seconds, then run the soak for `seconds`."""
    model = Path(tempfile.mkdtemp(prefix="soak")) / "model.h5"
    # With the fast demo model, the gateway and the load generator would limit the capacity instead.
    create_slow_model(model)
    stack, report = Stack(INFERENCE_MODEL=model, **LIMITS), Report()
    try:
        sender = stack.start("webhooks", "webhooks")
        stack.start_worker()
        eventually(lambda: psutil.Process(sender.pid).children(), 60, "the webhook sender is up")
        running = Soak(stack, report, sender)
        running.load(2, clients=32)
        report.capacity = len(running.load(5, clients=32)["moments"]) / 5
        running.rate = OVERLOAD * report.capacity
        with _run_in_threads(running.over, running.watch, running.bulk, *[running.retry] * RETRYING_CALLERS):
            running.interactive(seconds)
        running.await_webhooks()
    finally:
        stack.close()
    return report


def main() -> int:
    """Run the soak and print its report; return 1 if an expectation was not met."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    report = soak(parser.parse_args().seconds)
    print(report)
    for fault in report.faults():
        print(f"NOT MET: {fault}")
    return 1 if report.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
