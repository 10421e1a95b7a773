"""A steady mixed load: callers that wait, bulk jobs and their webhooks; every accepted job is followed up."""

import contextlib
import json
import math
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import requests

from tests.e2e.test_classify import DIGITS, best, digit_class
from tests.stack import Stack, eventually

CALLERS, PHOTOS = 8, [path.read_bytes() for path in DIGITS]
CLASSES = [digit_class(path) for path in DIGITS]
BULK_PAUSE, BULK_PHOTOS = 0.1, 3
PATIENCE = 60.0
"""Seconds for all that was accepted to end, once the fault is over."""

WEBHOOK_PATIENCE = 180.0
"""Seconds for the webhooks: RQ finds a delivery whose sender lost Redis in mid-step within two minutes."""


class Mailbox(ThreadingHTTPServer):
    """Where webhooks are sent to; keeps what the messages of each job told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receive)
        self.received: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Receive(BaseHTTPRequestHandler):
    server: Mailbox

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received[body["data"]["id"]].append(body["data"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@dataclass
class Call:
    """A caller's request, from and to when; `status` is 0 where the connection broke."""

    begun: float
    ended: float
    status: int
    job: str
    told: str
    """What was answered, if it is not the answer."""


@dataclass
class Load:
    """Puts load on a stack until `stop`; then `settle` counts what became of it.

    Where the gateway itself is what fails, `may_break`: a caller's connection may end without an answer.
    """

    stack: Stack
    mailbox: Mailbox
    may_break: bool = False
    calls: list[Call] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    """Bulk jobs, each with the class that is right."""
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """What became of accepted jobs that have no right answer."""

    def __enter__(self) -> "Load":
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(CALLERS)]
        self._threads.append(threading.Thread(target=self._submit))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        while not self._stop.is_set():
            number = (number + 1) % len(PHOTOS)
            begun, status, job, told = time.monotonic(), 0, "", ""
            try:
                answer = self.stack.classify(PHOTOS[number])
                status, job = answer.status_code, answer.headers.get("X-Job-Id", "")
                told = "" if status == 200 else answer.text
                if status == 200 and best(answer.json()) != [CLASSES[number]]:
                    self.wrong.append(answer.text)
            except requests.RequestException as error:
                told = str(error)
            self.calls.append(Call(begun, time.monotonic(), status, job, told))
            if status != 200:
                time.sleep(0.2)

    def _submit(self) -> None:
        number = 0
        while not self._stop.wait(BULK_PAUSE):
            chosen = [(number + n) % len(PHOTOS) for n in range(BULK_PHOTOS)]
            number += BULK_PHOTOS
            ids = self._accepted([PHOTOS[each] for each in chosen])
            self.accepted.update(zip(ids, (CLASSES[each] for each in chosen), strict=False))

    def _accepted(self, photos: list[bytes]) -> list[str]:
        """The ids of new jobs; a careful client asks again under the same key until there is an answer."""
        key = uuid4().hex
        for _ in range(100):
            with contextlib.suppress(requests.RequestException):
                answer = requests.post(
                    f"{self.stack.url}/jobs",
                    files=[("blob", ("photo", photo)) for photo in photos],
                    data={"webhook": self.mailbox.url},
                    headers={"Idempotency-Key": key},
                    timeout=30,
                )
                if answer.status_code == 202:
                    return [each["id"] for each in answer.json()["jobs"]]
                if answer.status_code not in (429, 503):
                    self.wrong.append(f"POST /jobs: {answer.status_code} {answer.text}")
                    return []
            if self._stop.is_set():
                return []
            time.sleep(0.2)
        return []

    # ---------------------------------------------------------------- what became of it

    def settle(self) -> "Outcome":
        """Wait for the end of all that was accepted, and count."""
        answered = [each for each in self.calls if each.status == 200]
        unanswered = [each for each in self.calls if self._is_lost(each)]
        with ThreadPoolExecutor(8) as pool:
            ends = list(pool.map(self._end, self.accepted))
        self.lost += [end for end, right in zip(ends, self.accepted.values(), strict=True) if end != right]
        self.lost += [f"a caller had status {each.status}: {each.told}" for each in unanswered]
        results = self.stack.valkey.client
        jobs = [*self.accepted, *(each.job for each in answered)]
        twice = [job for job in jobs if results.xlen(f"rq:results:{job}") > 1]
        accepted = len(answered) + len(unanswered) + len(self.accepted)
        return Outcome(accepted, len(self.lost), len(twice), len(self.wrong))

    def _is_lost(self, call: Call) -> bool:
        """Whether a caller's job was accepted, or may have been, and has no answer."""
        if call.status == 0:
            return not self.may_break
        return call.status not in (200, 429, 503) or "lost the job" in call.told

    def _end(self, job: str) -> str:
        """The class that a job's answer names; else its state and why."""
        end, body = time.monotonic() + PATIENCE, {"status": "unknown", "error": None}
        while time.monotonic() < end:
            with contextlib.suppress(requests.RequestException):
                answer = requests.get(f"{self.stack.url}/jobs/{job}?wait=10", timeout=30)
                if answer.status_code == 200:
                    body = answer.json()
                    if body["status"] == "finished":
                        return _class_of(body)
                    if body["status"] not in ("queued", "started"):
                        break
            time.sleep(0.1)
        return f"{job}: {body['status']} {body['error']}"

    def told(self) -> list[str]:
        """Wait for each accepted job's webhook; return what is wrong. Some may come twice, as documented."""
        missing = lambda: [job for job in self.accepted if not self.mailbox.received[job]]  # noqa: E731
        eventually(lambda: not missing(), WEBHOOK_PATIENCE, "every webhook is delivered")
        self.mailbox.shutdown()
        return [
            f"the webhook of {job}: wanted {right}, got {message}"
            for job, right in self.accepted.items()
            for message in self.mailbox.received[job]
            if message["status"] != "finished" or _class_of(message) != right
        ]

    def left_over(self) -> dict[str, int]:
        """What should not be in Redis once all has ended; a failure's image is kept for a requeue."""
        client = self.stack.valkey.client
        images = [key.decode().partition(":")[2] for key in client.scan_iter("image:*", count=1000)]
        found = {"images": sum(client.hget(f"rq:job:{each}", "status") != b"failed" for each in images)}
        found["bytes"] = int(client.get("classification:bytes") or 0)
        for lane in ("interactive", "bulk"):
            found[f"{lane} waiting"] = client.llen(f"rq:queue:{lane}")
            found[f"{lane} running"] = client.zcard(f"rq:wip:{lane}")
        return {what: count for what, count in found.items() if count}

    def cleared(self) -> None:
        """Nothing is left of it, half-written or held: what callers gave up on is reaped, too."""
        try:
            eventually(lambda: not self.left_over(), PATIENCE, "nothing is left over")
        except AssertionError:
            raise AssertionError(f"left over in Redis: {self.left_over()}") from None

    def recovered(self, fault: float, over: float) -> float:
        """The time that `recovery` tells, once a new caller had an answer; infinite if none had one."""
        end = time.monotonic() + PATIENCE
        while not math.isfinite(self.recovery(fault, over)) and time.monotonic() < end:
            time.sleep(0.1)
        return self.recovery(fault, over)

    def recovery(self, fault: float, over: float) -> float:
        """Seconds from the fault until what was in flight had ended, and a new caller an answer for good."""
        flying = [each.ended for each in self.calls if each.begun <= fault < each.ended]
        refused = [each.begun for each in self.calls if fault < each.begun < over and each.status != 200]
        since = max([fault, *refused])
        new = [each.ended for each in self.calls if each.begun > since and each.status == 200]
        return max([*flying, min(new, default=float("inf"))]) - fault


def _class_of(body: dict[str, Any]) -> str:
    return str(body["result"]["regions"][0]["predictions"][0]["class"])


@dataclass
class Outcome:
    """Jobs accepted; of these lost (no answer, or not the right one) or settled twice; and wrong answers."""

    accepted: int
    lost: int
    duplicated: int
    wrong: int
