"""A steady load of waiting callers, bulk jobs and webhooks, and a check of how every accepted job ended."""

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
MAX_END_SECONDS = 60.0
"""Maximum time in seconds from the end of a fault to the end of all accepted jobs."""

MAX_WEBHOOK_SECONDS = 180.0
"""Maximum time in seconds until the webhooks arrive.

If a sender loses Redis during a delivery, RQ needs up to two minutes to find the delivery.
"""


class WebhookReceiver(ThreadingHTTPServer):
    """Receives webhooks and keeps the data of their messages, by job."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _WebhookHandler)
        self.received: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _WebhookHandler(BaseHTTPRequestHandler):
    server: WebhookReceiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received[body["data"]["id"]].append(body["data"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@dataclass
class Call:
    """A caller's request; `status` is 0 if the connection broke."""

    begun: float
    """The request's start, by time.monotonic()."""
    ended: float
    status: int
    job: str
    detail: str
    """The text of the error, or an empty string."""


@dataclass
class Load:
    """Puts load on a stack until the `with` block ends; then `count_outcome` counts how the jobs ended.

    `may_break` allows connections to break without an answer; it is set for faults of the gateway.
    """

    stack: Stack
    receiver: WebhookReceiver
    may_break: bool = False
    calls: list[Call] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    """The right class of each accepted bulk job."""
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """The states of accepted jobs that have no right answer."""

    def __enter__(self) -> "Load":
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send_calls, args=(n,)) for n in range(CALLERS)]
        self._threads.append(threading.Thread(target=self._submit_bulk))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send_calls(self, number: int) -> None:
        while not self._stop.is_set():
            number = (number + 1) % len(PHOTOS)
            begun, status, job, detail = time.monotonic(), 0, "", ""
            try:
                answer = self.stack.classify(PHOTOS[number])
                status, job = answer.status_code, answer.headers.get("X-Job-Id", "")
                detail = "" if status == 200 else answer.text
                if status == 200 and best(answer.json()) != [CLASSES[number]]:
                    self.wrong.append(answer.text)
            except requests.RequestException as error:
                detail = str(error)
            self.calls.append(Call(begun, time.monotonic(), status, job, detail))
            if status != 200:
                time.sleep(0.2)

    def _submit_bulk(self) -> None:
        number = 0
        while not self._stop.wait(BULK_PAUSE):
            chosen = [(number + n) % len(PHOTOS) for n in range(BULK_PHOTOS)]
            number += BULK_PHOTOS
            ids = self._job_ids([PHOTOS[each] for each in chosen])
            self.accepted.update(zip(ids, (CLASSES[each] for each in chosen), strict=False))

    def _job_ids(self, photos: list[bytes]) -> list[str]:
        """Submit the images as jobs and return the jobs' ids.

        Like a careful client, repeat the request with the same idempotency key until it is answered.
        """
        key = uuid4().hex
        for _ in range(100):
            with contextlib.suppress(requests.RequestException):
                answer = requests.post(
                    f"{self.stack.url}/jobs",
                    files=[("blob", ("photo", photo)) for photo in photos],
                    data={"webhook": self.receiver.url},
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

    # ---------------------------------------------------------------- the outcome

    def count_outcome(self) -> "Outcome":
        """Wait until all accepted jobs have ended and count how they ended."""
        answered = [each for each in self.calls if each.status == 200]
        unanswered = [each for each in self.calls if self._is_lost(each)]
        with ThreadPoolExecutor(8) as pool:
            ends = list(pool.map(self._wait_for_end, self.accepted))
        self.lost += [end for end, right in zip(ends, self.accepted.values(), strict=True) if end != right]
        self.lost += [f"a caller got status {each.status}: {each.detail}" for each in unanswered]
        results = self.stack.valkey.client
        jobs = [*self.accepted, *(each.job for each in answered)]
        twice = [job for job in jobs if results.xlen(f"rq:results:{job}") > 1]
        accepted = len(answered) + len(unanswered) + len(self.accepted)
        return Outcome(accepted, len(self.lost), len(twice), len(self.wrong))

    def _is_lost(self, call: Call) -> bool:
        """Return whether a caller's job may have been accepted and has no answer."""
        if call.status == 0:
            return not self.may_break
        return call.status not in (200, 429, 503) or "lost the job" in call.detail

    def _wait_for_end(self, job: str) -> str:
        """Return the class in the job's answer, or the job's state and error."""
        end, body = time.monotonic() + MAX_END_SECONDS, {"status": "unknown", "error": None}
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

    def webhook_errors(self) -> list[str]:
        """Wait for the webhook of each accepted job; return the errors. Webhooks may arrive twice."""
        missing = lambda: [job for job in self.accepted if not self.receiver.received[job]]  # noqa: E731
        eventually(lambda: not missing(), MAX_WEBHOOK_SECONDS, "every webhook is delivered")
        self.receiver.shutdown()
        return [
            f"webhook of {job}: expected {right}, got {message}"
            for job, right in self.accepted.items()
            for message in self.receiver.received[job]
            if message["status"] != "finished" or _class_of(message) != right
        ]

    def leftovers(self) -> dict[str, int]:
        """Count the data that should not be in Redis after all jobs ended.

        The images of failed jobs are not counted, because Redis keeps them for a requeue.
        """
        client = self.stack.valkey.client
        images = [key.decode().partition(":")[2] for key in client.scan_iter("image:*", count=1000)]
        found = {"images": sum(client.hget(f"rq:job:{each}", "status") != b"failed" for each in images)}
        found["bytes"] = int(client.get("classification:bytes") or 0)
        for queue in ("interactive", "bulk"):
            found[f"{queue} waiting"] = client.llen(f"rq:queue:{queue}")
            found[f"{queue} running"] = client.zcard(f"rq:wip:{queue}")
        return {name: count for name, count in found.items() if count}

    def wait_until_redis_is_clean(self) -> None:
        """Return when nothing is left in Redis, also of jobs whose callers stopped waiting."""
        try:
            eventually(lambda: not self.leftovers(), MAX_END_SECONDS, "nothing is left in Redis")
        except AssertionError:
            raise AssertionError(f"left in Redis: {self.leftovers()}") from None

    def wait_for_recovery(self, fault: float, over: float) -> float:
        """Wait until a new caller got an answer; return `recovery_time`, or infinity without an answer."""
        end = time.monotonic() + MAX_END_SECONDS
        while not math.isfinite(self.recovery_time(fault, over)) and time.monotonic() < end:
            time.sleep(0.1)
        return self.recovery_time(fault, over)

    def recovery_time(self, fault: float, over: float) -> float:
        """Return the seconds from the fault until all jobs in flight and a new caller had an answer.

        The new caller is the first caller after the last refusal before the fault was `over`.
        """
        in_flight = [each.ended for each in self.calls if each.begun <= fault < each.ended]
        refused = [each.begun for each in self.calls if fault < each.begun < over and each.status != 200]
        since = max([fault, *refused])
        new = [each.ended for each in self.calls if each.begun > since and each.status == 200]
        return max([*in_flight, min(new, default=float("inf"))]) - fault


def _class_of(body: dict[str, Any]) -> str:
    return str(body["result"]["regions"][0]["predictions"][0]["class"])


@dataclass
class Outcome:
    """Numbers of jobs: accepted, lost (without the right answer), settled twice and answered wrongly."""

    accepted: int
    lost: int
    duplicated: int
    wrong: int
