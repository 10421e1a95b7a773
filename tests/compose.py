"""Test the service that `docker compose up` has started (`make compose-test`); needs only Python.

The test classifies every sample through the proxy. Then, under load, it starts three workers and two
gateways, kills a worker that holds jobs, and removes gateways. Every request and every job must have the
correct result. Finally, the test checks a webhook.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

SAMPLES = Path(__file__).parent.parent / "demo" / "samples"
WEBHOOKS = Path(__file__).with_name("webhooks.compose.yml")
EXPECTED: dict[str, Any] = json.loads((SAMPLES / "expected.json").read_text())
URL = f"http://127.0.0.1:{os.environ.get('SERVER_PORT') or '8001'}"
JOBS_AT_ONCE = 20
LARGE_JOB = "tres-regiones.jpg"
REPEATED_REGIONS = 33
"""Repetitions of the three regions of LARGE_JOB; a request may have 100 regions."""
REMOVED_GATEWAYS = 3


def compose(*arguments: str) -> str:
    done = subprocess.run(["docker", "compose", *arguments], capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(f"docker compose {' '.join(arguments)}: {done.stderr[-2000:]}")
    return done.stdout


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=90)
    if check and done.returncode:
        raise SystemExit(f"docker {' '.join(arguments)}: {done.stderr[-2000:]}")
    return done.stdout.strip()


def scale(**counts: int) -> None:
    flags = [word for name, count in counts.items() for word in ("--scale", f"{name}={count}")]
    compose("up", "--detach", "--no-build", "--no-recreate", "--wait", *flags)


def request_json(path: str, fields: list[tuple[str, str, bytes]] | None = None, url: str = URL) -> Any:
    """GET, or POST a form of (field, file name, content)."""
    request = urllib.request.Request(url + path)
    if fields is not None:
        boundary = uuid4().hex
        parts = [
            b'--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
            % (boundary.encode(), name.encode(), f'; filename="{file}"'.encode() if file else b"", content)
            for name, file, content in fields
        ]
        request.data = b"".join(parts) + f"--{boundary}--\r\n".encode()
        request.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
    with urllib.request.urlopen(request, timeout=100) as response:
        return json.load(response)


def eventually(holds: Callable[[], bool], seconds: float, condition: str) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError):
            if holds():
                return
        time.sleep(0.5)
    raise SystemExit(f"not within {seconds} s: {condition}")


def classify(name: str, url: str = URL) -> None:
    """Classify a sample; the best prediction of each region must be the expected class."""
    sample = EXPECTED[name]
    fields = [("blob", name, (SAMPLES / name).read_bytes())]
    fields += [("regions", "", sample["regions"].encode())] if sample["regions"] else []
    best = [next(iter(region)) for region in request_json("/classify", fields, url)]
    assert best == sample["classes"], f"{name}: {best}"


class Load:
    """Sends requests and jobs without a pause and collects all errors."""

    def __init__(self) -> None:
        self.answered, self.jobs, self.errors = 0, dict[str, list[str]](), list[str]()
        self._stopped, self._lock = threading.Event(), threading.Lock()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._repeat, args=(self._classify,)) for _ in range(4)]
        threads.append(threading.Thread(target=self._repeat, args=(self._submit,)))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def _repeat(self, step: Callable[[int], None]) -> None:
        turn = 0
        while not self._stopped.is_set():
            try:
                step(turn)
            except Exception as error:
                self.errors.append(f"{time.strftime('%X')} {step.__name__}: {error!r}")
            turn += 1

    def _classify(self, turn: int) -> None:
        classify(list(EXPECTED)[turn % len(EXPECTED)])
        with self._lock:
            self.answered += 1

    def _submit(self, turn: int) -> None:
        name = f"digits/{turn % 10}.png"
        submitted = request_json("/jobs", [("blob", name, (SAMPLES / name).read_bytes())] * JOBS_AT_ONCE)
        self.jobs |= {job["id"]: EXPECTED[name]["classes"] for job in submitted["jobs"]}
        self._stopped.wait(0.2)

    def submit_large_jobs(self) -> list[str]:
        """Submit enough jobs to keep three workers busy, and return the jobs' ids."""
        sample = EXPECTED[LARGE_JOB]
        fields = [("blob", LARGE_JOB, (SAMPLES / LARGE_JOB).read_bytes())] * 100
        fields += [("regions", "", ";".join([sample["regions"]] * REPEATED_REGIONS).encode())]
        ids = [job["id"] for job in request_json("/jobs", fields)["jobs"]]
        self.jobs |= dict.fromkeys(ids, sample["classes"] * REPEATED_REGIONS)
        return ids

    def check_jobs(self) -> None:
        """Every accepted job must finish with the correct result."""
        for job_id, expected in self.jobs.items():
            job = ended(job_id)
            best = [region["predictions"][0]["class"] for region in job["result"]["regions"]]
            assert best == expected, f"{job_id}: {best}"


def ended(job_id: str) -> Any:
    job = request_json(f"/jobs/{job_id}?wait=55")
    assert job["status"] == "finished", job
    return job


def crash_busy_worker(load: Load) -> int:
    """Kill workers until one held jobs; return how many jobs other workers had to retry."""
    for turn in range(5):
        jobs = load.submit_large_jobs()
        crash("worker", turn)
        retried = sum(int(ended(each)["attempts"]) > 1 for each in jobs)
        if retried:
            return retried
    raise SystemExit("no killed worker held jobs")


def crash(service: str, turn: int) -> None:
    """Kill all processes in one container of a service, as the kernel does when memory runs out."""
    containers = compose("ps", "--quiet", service).split()
    container = containers[turn % len(containers)]

    def restarts() -> str:
        return docker("inspect", "--format", "{{.RestartCount}} {{.State.Running}}", container)

    count = int(restarts().split()[0])
    docker("exec", container, "sh", "-c", "kill -9 -1", check=False)  # the command dies too
    eventually(lambda: restarts() == f"{count + 1} true", 60, f"Docker restarts the killed {service}")


def check_webhook() -> None:
    """The webhook sender delivers a signed message about a job's end."""
    os.environ["COMPOSE_FILE"] = f"{os.environ.get('COMPOSE_FILE') or 'docker-compose.yml'}:{WEBHOOKS}"
    compose("--profile", "webhooks", "up", "--detach", "--no-build", "--wait")
    eventually(lambda: request_json("/health/ready")["status"] == "ready", 60, "the service is ready again")
    fields = [
        ("blob", "x", (SAMPLES / "siete.jpg").read_bytes()),
        ("webhook", "", b"http://receiver:8000/hook"),
    ]
    (job,) = request_json("/jobs", fields)["jobs"]
    eventually(lambda: job["id"] in receiver_log(), 60, "the webhook is delivered")
    message = json.loads(next(line for line in receiver_log().splitlines() if job["id"] in line))
    content = f"{job['id']}.{message['webhook-timestamp']}.{message['body']}".encode()
    (secret,) = re.findall("WEBHOOK_SECRET: whsec_(.+)", WEBHOOKS.read_text())
    signature = hmac.digest(base64.b64decode(secret), content, hashlib.sha256)
    assert message["webhook-signature"] == f"v1,{base64.b64encode(signature).decode()}", message
    assert json.loads(message["body"])["data"]["status"] == "finished", message
    compose("--profile", "webhooks", "rm", "--stop", "--force", "webhooks", "receiver")
    print("webhook delivered with a valid signature")


def receiver_log() -> str:
    return docker("logs", compose("ps", "--quiet", "receiver").strip())  # compose colours its logs


def main() -> None:
    eventually(lambda: request_json("/health/ready")["status"] == "ready", 120, "the service is ready")
    for name in EXPECTED:
        classify(name)
    print(f"{len(EXPECTED)} samples have the expected classes")
    load = Load()
    with load.running():
        scale(worker=3, gateway=2)
        eventually(lambda: request_json("/cfg")["workers"] == 3, 120, "three workers are ready")
        retried = crash_busy_worker(load)
        eventually(lambda: request_json("/cfg")["workers"] == 3, 120, "three workers are ready again")
        for _ in range(REMOVED_GATEWAYS):
            scale(worker=3, gateway=2)
            scale(worker=3, gateway=1)
    assert not load.errors, "\n".join(load.errors[:20])
    load.check_jobs()
    print(f"one worker killed, {retried} of its jobs retried; gateways removed: {REMOVED_GATEWAYS}")
    print(f"{load.answered} requests and {len(load.jobs)} jobs have the expected classes")
    check_webhook()


if __name__ == "__main__":
    main()
