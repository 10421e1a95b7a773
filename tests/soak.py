"""`python -m tests.soak`: checks the real service at 120 % of its capacity for an hour.

Interactive requests come at random moments, independently of the answers (`cli.bench.load_generator`). Bulk
jobs run at the same time. Some refused callers retry after the time in `Retry-After`. The rate follows the
number of answers, because other work on the machine changes its capacity.
"""

import argparse
import itertools
import json
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
from tests.chaos.load import Mailbox
from tests.chaos.run import SECRET
from tests.queue_sides import JobQueue
from tests.stack import ROOT, Stack, eventually

LIMITS = {
    "SCHEDULER_QUEUE_SIZE": 48,
    "BULK_QUEUE_SIZE": 200,
    "MAX_QUEUE_BYTES": 4_000_000,  # more than these jobs have
    "RESULT_TTL": 20,  # the stored results soon reach their final number
    "REQUEST_TIMEOUT": 30,
    "INPUT_BATCH": 32,
    "WEBHOOK_SECRET": SECRET,
    "WEBHOOK_ALLOW": "127.0.0.1",
}
MAX_WAIT = 3
"""Maximum wait of 99 % of the requests, as a multiple of the time of a full queue at the slowest rate."""

OVERLOAD = 1.2
PATIENT = 12
"""Number of callers who retry after `Retry-After`."""

MIN_RETRIES = 5
"""Minimum number of retries from which to conclude something."""

PERIOD_SECONDS = 15.0
"""Time between two changes of the rate, in seconds."""

WARM_UP_SHARE = 0.4
"""Share of the time in which allocators, caches and stored results still grow."""

MAX_GROWTH_MB, MAX_GROWTH_SHARE = 16.0, 0.05
"""Maximum growth of memory between the first and the last third of the time after the warm-up.

A leak of a kilobyte per request exceeds it within two minutes, a leak of 40 bytes within an hour.
"""

IMAGES = sorted((demo.SAMPLES / "digits").glob("*.png"))
EXPECTED = json.loads((demo.SAMPLES / "expected.json").read_text())
CLASSES = [EXPECTED[f"digits/{path.name}"]["classes"] for path in IMAGES]


@dataclass
class Report:
    """The measurements; times in milliseconds, memory in megabytes."""

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
    missing_webhooks: int = 0
    retried: int = 0
    retried_accepted: int = 0
    max_waiting: dict[str, int] = field(default_factory=dict)
    max_bytes: int = 0
    memory: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def growth(self, part: str) -> tuple[float, float]:
        """Return a part's memory in the first and in the last third of the time after the warm-up."""
        values = self.memory[part][int(len(self.memory[part]) * WARM_UP_SHARE) :]
        third = max(len(values) // 3, 1)
        return statistics.median(values[:third]), statistics.median(values[-third:])

    def faults(self) -> list[str]:
        """Return the expectations that did not hold."""
        refused = self.statuses.get("429", 0)
        holds = {
            "every answer is 200 or 429": set(self.statuses) <= {"200", "429"} and not self.broken,
            "some requests were refused, so the load exceeded the capacity": refused > 0,
            "no answer is wrong": self.wrong == 0 and not self.errors,
            "every accepted bulk job has its right answer": self.bulk_right == self.bulk_accepted > 0,
            "every ended bulk job sent its webhook": self.missing_webhooks == 0,
            "more than half of the retries after Retry-After are accepted": self.retried < MIN_RETRIES
            or self.retried_accepted * 2 > self.retried,
            "99 % of the requests wait no longer than a full queue takes": self.p99() < self.bound(),
            "waiting jobs are bounded": self.max_waiting.get(INTERACTIVE, 0) <= LIMITS["SCHEDULER_QUEUE_SIZE"]
            and self.max_waiting.get(BULK, 0) <= LIMITS["BULK_QUEUE_SIZE"],
            "bytes of waiting jobs are bounded": 0 < self.max_bytes <= LIMITS["MAX_QUEUE_BYTES"],
        }
        for part in self.memory:
            before, after = self.growth(part)
            holds[f"the memory of the {part} is flat"] = (
                after - before < MAX_GROWTH_MB + MAX_GROWTH_SHARE * before
            )
        return [name for name, held in holds.items() if not held]

    def p99(self) -> float:
        """Return the time that 99 % of the interactive answers did not exceed."""
        return statistics.quantiles(self.times, n=100)[98] if len(self.times) > 1 else 0.0

    def bound(self) -> float:
        """Return the maximum for `p99` in milliseconds, from the slowest of all periods."""
        ahead = LIMITS["SCHEDULER_QUEUE_SIZE"] + 2 * LIMITS["INPUT_BATCH"]
        return MAX_WAIT * ahead / min(self.answered) * 1000

    def __str__(self) -> str:
        """Return the measurements, one line each."""
        tried = sum(self.statuses.values())
        lines = [
            f"capacity at first, closed loop      {self.capacity:.0f} requests/s",
            f"offered, requests/s                 {' '.join(f'{each:.0f}' for each in self.offered)}",
            f"interactive requests                {tried:,}: {self.statuses}",
            f"answered, requests/s                {' '.join(f'{each:.0f}' for each in self.answered)}",
            f"interactive p50, p99, its bound     {statistics.median(self.times):.0f}, {self.p99():.0f}, "
            f"{self.bound():.0f} ms",
            f"bulk accepted, right, refused       {self.bulk_accepted} {self.bulk_right} {self.bulk_refused}",
            f"bulk jobs without a webhook         {self.missing_webhooks}",
            f"accepted after Retry-After          {self.retried_accepted} of {self.retried}",
            f"maximum waiting, maximum bytes      {self.max_waiting}, {self.max_bytes:,}",
            f"wrong answers, broken connections   {self.wrong}, {self.broken}",
        ]
        for part in self.memory:
            before, after = self.growth(part)
            lines.append(f"{part + ', MB early, late':<36}{before:.1f}, {after:.1f}")
        return "\n".join([*lines, *self.errors])


@dataclass
class Soak:
    """The running parts of one soak. Each thread runs one method until `over`."""

    stack: Stack
    report: Report
    sender: "subprocess.Popen[bytes]"
    mailbox: Mailbox = field(default_factory=Mailbox)
    rate: float = 0.0
    answered: int = 0
    """Requests of patient callers that were answered."""

    over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Record memory each second, and the queue ten times a second."""
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
        """Submit the images as jobs at a twentieth of the rate, and check their answers."""
        while not self.over.is_set():
            files = [("blob", (path.name, path.read_bytes())) for path in IMAGES]
            form = {"top_n": "1", "webhook": self.mailbox.url}
            answer = requests.post(f"{self.stack.url}/jobs", files=files, data=form, timeout=60)
            if answer.status_code == 202:
                ids = [job["id"] for job in answer.json()["jobs"]]
                self.report.bulk_accepted += len(ids)
                self._collect(dict(zip(ids, CLASSES, strict=True)))
            elif answer.status_code == 429:
                self.report.bulk_refused += len(files)
                self.over.wait(int(answer.headers["Retry-After"]))
            else:
                self.report.errors.append(f"POST /jobs: {answer.status_code} {answer.text[:200]}")
            self.over.wait(len(files) * 20 / self.rate)

    def _collect(self, waiting: dict[str, list[str]]) -> None:
        end = time.monotonic() + 120
        while waiting and time.monotonic() < end:
            answer = requests.get(f"{self.stack.url}/jobs?ids={','.join(waiting)}&wait=5", timeout=60).json()
            for job in answer["jobs"]:
                if job["status"] not in ("queued", "started"):
                    self._check(job, waiting.pop(job["id"]))
        self.report.errors += [f"job {job_id} did not end" for job_id in waiting]

    def await_webhooks(self) -> None:
        """Wait at most a minute for the webhooks of the bulk jobs, and count those that are missing."""
        end = time.monotonic() + 60
        while len(self.mailbox.received) < self.report.bulk_accepted and time.monotonic() < end:
            time.sleep(0.1)
        self.report.missing_webhooks = self.report.bulk_accepted - len(self.mailbox.received)

    def _check(self, job: dict[str, object], classes: list[str]) -> None:
        result = job.get("result")
        found = [each["predictions"][0]["class"] for each in result["regions"]] if result else None
        if found == classes:
            self.report.bulk_right += 1
        else:
            self.report.errors.append(f"expected {classes}, got {json.dumps(job)[:300]}")

    def patient(self) -> None:
        """Call again and again; after a refusal, retry once after `Retry-After`."""
        for path in itertools.cycle(IMAGES):
            if self.over.wait(0.05):
                return
            answer = self.stack.classify(path)
            if answer.status_code == 429:
                time.sleep(int(answer.headers["Retry-After"]))
                self.report.retried += 1
                answer = self.stack.classify(path)
                self.report.retried_accepted += answer.status_code == 200
            self.answered += answer.status_code == 200

    def interactive(self, seconds: float) -> None:
        """Send more requests than were answered in the period before."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 1:
            period, before = min(left, PERIOD_SECONDS), self.answered
            outcome = self.load(period, rate=self.rate)
            self.report.offered.append(self.rate)
            answered = (len(outcome["moments"]) + self.answered - before) / period
            refused = outcome["statuses"].get("429", 0)
            self.report.answered.append(answered)
            self.rate = OVERLOAD * (answered if refused else self.rate)

    def load(self, seconds: float, **how: float) -> dict[str, object]:
        """Send requests, and add their answers to the report."""
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
def _threads(over: threading.Event, *loops: Callable[[], None]) -> Iterator[None]:
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
    """Run the service for `seconds`, after a few seconds that find its capacity."""
    model = Path(tempfile.mkdtemp(prefix="soak")) / "model.h5"
    # With the light demo model, the gateway and the generator would be the bottleneck.
    subprocess.run(
        [sys.executable, "-m", "tests.e2e.slow_model", str(model)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    stack, report = Stack(INFERENCE_MODEL=model, **LIMITS), Report()
    try:
        sender = stack.start("webhooks", "webhooks")
        stack.start_worker()
        eventually(lambda: psutil.Process(sender.pid).children(), 60, "the webhook sender is up")
        running = Soak(stack, report, sender)
        running.load(2, clients=32)
        report.capacity = len(running.load(5, clients=32)["moments"]) / 5
        running.rate = OVERLOAD * report.capacity
        with _threads(running.over, running.watch, running.bulk, *[running.patient] * PATIENT):
            running.interactive(seconds)
        running.await_webhooks()
    finally:
        stack.close()
    return report


def main() -> int:
    """Run the soak, print the report, and fail if an expectation did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    report = soak(parser.parse_args().seconds)
    print(report)
    for fault in report.faults():
        print(f"DID NOT HOLD: {fault}")
    return 1 if report.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
