"""`python -m tests.soak`: the real service at 120 % of its capacity for an hour, and what must hold then.

Interactive requests come at random moments, whatever the answers do (`cli.bench.load_generator`). Bulk jobs
run beside them. Some refused callers wait as long as `Retry-After` says. The rate is set again and again from
the number of answers, because other work on the machine changes its capacity.
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
    "MAX_QUEUE_BYTES": 4_000_000,  # more than as many jobs have: small images would keep large ones out
    "RESULT_TTL": 20,  # what is kept of ended jobs is as much as it will be, soon
    "REQUEST_TIMEOUT": 30,
    "INPUT_BATCH": 32,
    "WEBHOOK_SECRET": SECRET,
    "WEBHOOK_ALLOW": "127.0.0.1",
}
MAX_WAIT = 3
"""Times that a full queue and the batches ahead of it take at the slowest pace: the most that 99 % wait."""

OVERLOAD = 1.2
PATIENT = 12
"""Callers who, when refused, come again as they were told."""

FEW = 5
"""Callers who were refused: of fewer, nothing could be concluded."""

PIECE_SECONDS = 15.0
"""After which the rate is set anew."""

WARM_UP_SHARE = 0.4
"""Of the time: allocators, caches and kept results grow at first."""

MAX_GROWTH_MB, MAX_GROWTH_SHARE = 16.0, 0.05
"""By which memory may be larger in the last third of the time after the warm-up than in the first. A leak of
a kilobyte a request shows within two minutes, one of 40 bytes within an hour."""

IMAGES = sorted((demo.SAMPLES / "digits").glob("*.png"))
EXPECTED = json.loads((demo.SAMPLES / "expected.json").read_text())
CLASSES = [EXPECTED[f"digits/{path.name}"]["classes"] for path in IMAGES]


@dataclass
class Report:
    """What was seen; times in milliseconds, memory in megabytes."""

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
    untold: int = 0
    retried: int = 0
    retried_got_in: int = 0
    most_waiting: dict[str, int] = field(default_factory=dict)
    most_bytes: int = 0
    memory: dict[str, list[float]] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)

    def growth(self, part: str) -> tuple[float, float]:
        """A part's memory in the first and in the last third of the time after the warm-up."""
        values = self.memory[part][int(len(self.memory[part]) * WARM_UP_SHARE) :]
        third = max(len(values) // 3, 1)
        return statistics.median(values[:third]), statistics.median(values[-third:])

    def faults(self) -> list[str]:
        """What should have held and did not."""
        refused = self.statuses.get("429", 0)
        holds = {
            "every answer is 200 or 429": set(self.statuses) <= {"200", "429"} and not self.broken,
            "some were refused, so it was more than it could do": refused > 0,
            "no answer is wrong": self.wrong == 0 and not self.odd,
            "every accepted bulk job has its right answer": self.bulk_right == self.bulk_accepted > 0,
            "every end of a bulk job came to its webhook": self.untold == 0,
            "who waits as Retry-After says mostly gets in": self.retried < FEW
            or self.retried_got_in * 2 > self.retried,
            "the slowest of a hundred waits as long as the queue takes": self.p99() < self.bound(),
            "waiting jobs are bounded": self.most_waiting.get(INTERACTIVE, 0)
            <= LIMITS["SCHEDULER_QUEUE_SIZE"]
            and self.most_waiting.get(BULK, 0) <= LIMITS["BULK_QUEUE_SIZE"],
            "bytes that wait are bounded": 0 < self.most_bytes <= LIMITS["MAX_QUEUE_BYTES"],
        }
        for part in self.memory:
            before, after = self.growth(part)
            holds[f"the memory of the {part} is flat"] = (
                after - before < MAX_GROWTH_MB + MAX_GROWTH_SHARE * before
            )
        return [what for what, held in holds.items() if not held]

    def p99(self) -> float:
        """The time that 99 of 100 interactive answers did not exceed."""
        return statistics.quantiles(self.times, n=100)[98] if len(self.times) > 1 else 0.0

    def bound(self) -> float:
        """The time in milliseconds that the slowest of a hundred may take, by the slowest of all pieces."""
        ahead = LIMITS["SCHEDULER_QUEUE_SIZE"] + 2 * LIMITS["INPUT_BATCH"]
        return MAX_WAIT * ahead / min(self.answered) * 1000

    def __str__(self) -> str:
        """The figures, a line each."""
        tried = sum(self.statuses.values())
        lines = [
            f"capacity at first, closed loop      {self.capacity:.0f} requests/s",
            f"offered, requests/s                 {' '.join(f'{each:.0f}' for each in self.offered)}",
            f"interactive requests                {tried:,}: {self.statuses}",
            f"answered, requests/s                {' '.join(f'{each:.0f}' for each in self.answered)}",
            f"interactive p50, p99, its bound     {statistics.median(self.times):.0f}, {self.p99():.0f}, "
            f"{self.bound():.0f} ms",
            f"bulk accepted, right, refused       {self.bulk_accepted} {self.bulk_right} {self.bulk_refused}",
            f"bulk ends without a webhook         {self.untold}",
            f"got in after Retry-After            {self.retried_got_in} of {self.retried}",
            f"most waiting, most bytes            {self.most_waiting}, {self.most_bytes:,}",
            f"wrong answers, broken connections   {self.wrong}, {self.broken}",
        ]
        for part in self.memory:
            before, after = self.growth(part)
            lines.append(f"{part + ', MB early, late':<36}{before:.1f}, {after:.1f}")
        return "\n".join([*lines, *self.odd])


@dataclass
class Soak:
    """The running parts of one soak; each method is a thread's loop until `over`."""

    stack: Stack
    report: Report
    sender: "subprocess.Popen[bytes]"
    mailbox: Mailbox = field(default_factory=Mailbox)
    rate: float = 0.0
    answered: int = 0
    """Patient callers' requests."""

    over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Look at memory and the queue, each second and ten times a second."""
        queue = JobQueue(self.stack.valkey.client, Settings())
        parts, report = self._processes(), self.report
        for number in itertools.count():
            if self.over.wait(0.1):
                return
            figures = queue.metrics()
            for lane, waiting in figures.waiting.items():
                report.most_waiting[lane] = max(report.most_waiting.get(lane, 0), waiting)
            report.most_bytes = max(report.most_bytes, figures.image_bytes)
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
        """Submit the images as jobs, a twentieth of the rate, and see that each has its right answer."""
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
                self.report.odd.append(f"POST /jobs: {answer.status_code} {answer.text[:200]}")
            self.over.wait(len(files) * 20 / self.rate)

    def _collect(self, waiting: dict[str, list[str]]) -> None:
        end = time.monotonic() + 120
        while waiting and time.monotonic() < end:
            told = requests.get(f"{self.stack.url}/jobs?ids={','.join(waiting)}&wait=5", timeout=60).json()
            for job in told["jobs"]:
                if job["status"] not in ("queued", "started"):
                    self._check(job, waiting.pop(job["id"]))
        self.report.odd += [f"job {job_id} has no end" for job_id in waiting]

    def await_webhooks(self) -> None:
        """Count the bulk jobs whose webhook does not come, waiting a minute for them."""
        end = time.monotonic() + 60
        while len(self.mailbox.received) < self.report.bulk_accepted and time.monotonic() < end:
            time.sleep(0.1)
        self.report.untold = self.report.bulk_accepted - len(self.mailbox.received)

    def _check(self, job: dict[str, object], classes: list[str]) -> None:
        result = job.get("result")
        found = [each["predictions"][0]["class"] for each in result["regions"]] if result else None
        if found == classes:
            self.report.bulk_right += 1
        else:
            self.report.odd.append(f"wanted {classes}, got {json.dumps(job)[:300]}")

    def patient(self) -> None:
        """A caller who is refused, waits for as long as he is told, and tries once more."""
        for path in itertools.cycle(IMAGES):
            if self.over.wait(0.05):
                return
            answer = self.stack.classify(path)
            if answer.status_code == 429:
                time.sleep(int(answer.headers["Retry-After"]))
                self.report.retried += 1
                answer = self.stack.classify(path)
                self.report.retried_got_in += answer.status_code == 200
            self.answered += answer.status_code == 200

    def interactive(self, seconds: float) -> None:
        """Offer more than was answered before, in pieces."""
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
def _beside(over: threading.Event, *loops: Callable[[], None]) -> Iterator[None]:
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
    """Run the service for so long, after a few seconds in which its capacity is found."""
    model = Path(tempfile.mkdtemp(prefix="soak")) / "model.h5"
    # The demo model is so light that the gateway and the generator would be what is full.
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
        with _beside(running.over, running.watch, running.bulk, *[running.patient] * PATIENT):
            running.interactive(seconds)
        running.await_webhooks()
    finally:
        stack.close()
    return report


def main() -> int:
    """Soak, print what was seen, and fail if something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    report = soak(parser.parse_args().seconds)
    print(report)
    for fault in report.faults():
        print(f"DID NOT HOLD: {fault}")
    return 1 if report.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
