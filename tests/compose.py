"""What `make compose-test` asks of the service that `docker compose up` has started; it needs Python alone.

Every sample is classified through the proxy; then, under load, there are three workers and two gateways, a
worker is killed with jobs in its hands and gateways are taken away, and each request and each job has its
right answer. At last a webhook is told.
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
HEAVY = "tres-regiones.jpg"
HEAVY_TIMES = 33
"""How often its three regions are asked for: a hundred are allowed."""
GATEWAYS_TAKEN = 3


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


def ask(path: str, fields: list[tuple[str, str, bytes]] | None = None, url: str = URL) -> Any:
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
    with urllib.request.urlopen(request, timeout=100) as answer:
        return json.load(answer)


def eventually(holds: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError):
            if holds():
                return
        time.sleep(0.5)
    raise SystemExit(f"not within {seconds} s: {what}")


def classify(name: str, url: str = URL) -> None:
    """Classify a sample; the best answer for each region must be the expected one."""
    told = EXPECTED[name]
    fields = [("blob", name, (SAMPLES / name).read_bytes())]
    fields += [("regions", "", told["regions"].encode())] if told["regions"] else []
    best = [next(iter(region)) for region in ask("/classify", fields, url)]
    assert best == told["classes"], f"{name}: {best}"


class Load:
    """Requests and jobs without a pause; whatever goes wrong is kept."""

    def __init__(self) -> None:
        self.answered, self.jobs, self.faults = 0, dict[str, list[str]](), list[str]()
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
                self.faults.append(f"{time.strftime('%X')} {step.__name__}: {error!r}")
            turn += 1

    def _classify(self, turn: int) -> None:
        classify(list(EXPECTED)[turn % len(EXPECTED)])
        with self._lock:
            self.answered += 1

    def _submit(self, turn: int) -> None:
        name = f"digits/{turn % 10}.png"
        told = ask("/jobs", [("blob", name, (SAMPLES / name).read_bytes())] * JOBS_AT_ONCE)
        self.jobs |= {job["id"]: EXPECTED[name]["classes"] for job in told["jobs"]}
        self._stopped.wait(0.2)

    def submit_heavy(self) -> list[str]:
        """More than three workers do in a moment, so that each has some in its hands; return the jobs."""
        told = EXPECTED[HEAVY]
        fields = [("blob", HEAVY, (SAMPLES / HEAVY).read_bytes())] * 100
        fields += [("regions", "", ";".join([told["regions"]] * HEAVY_TIMES).encode())]
        ids = [job["id"] for job in ask("/jobs", fields)["jobs"]]
        self.jobs |= dict.fromkeys(ids, told["classes"] * HEAVY_TIMES)
        return ids

    def check_jobs(self) -> None:
        """Every job that was accepted has ended with the right answer."""
        for job_id, expected in self.jobs.items():
            job = ended(job_id)
            best = [region["predictions"][0]["class"] for region in job["result"]["regions"]]
            assert best == expected, f"{job_id}: {best}"


def ended(job_id: str) -> Any:
    job = ask(f"/jobs/{job_id}?wait=60")
    assert job["status"] == "finished", job
    return job


def crash_at_work(load: Load) -> int:
    """Kill workers until one had jobs in its hands; return how many, which others had to begin anew."""
    for turn in range(5):
        jobs = load.submit_heavy()
        crash("worker", turn)
        again = sum(int(ended(each)["attempts"]) > 1 for each in jobs)
        if again:
            return again
    raise SystemExit("no worker that was killed had jobs in its hands")


def crash(service: str, turn: int) -> None:
    """Kill what runs in one of the service's containers, as the kernel does when memory is short."""
    containers = compose("ps", "--quiet", service).split()
    container = containers[turn % len(containers)]

    def starts() -> str:
        return docker("inspect", "--format", "{{.RestartCount}} {{.State.Running}}", container)

    count = int(starts().split()[0])
    docker("exec", container, "sh", "-c", "kill -9 -1", check=False)  # dies of it
    eventually(lambda: starts() == f"{count + 1} true", 60, f"the killed {service} is started again")


def check_webhook() -> None:
    """The sender of webhooks tells somebody of a job's end, and signs it."""
    os.environ["COMPOSE_FILE"] = f"{os.environ.get('COMPOSE_FILE') or 'docker-compose.yml'}:{WEBHOOKS}"
    compose("--profile", "webhooks", "up", "--detach", "--no-build", "--wait")
    eventually(lambda: ask("/health/ready")["status"] == "ready", 60, "the service is ready again")
    fields = [
        ("blob", "x", (SAMPLES / "siete.jpg").read_bytes()),
        ("webhook", "", b"http://receiver:8000/hook"),
    ]
    (job,) = ask("/jobs", fields)["jobs"]
    eventually(lambda: job["id"] in told(), 60, "the webhook is told")
    message = json.loads(next(line for line in told().splitlines() if job["id"] in line))
    content = f"{job['id']}.{message['webhook-timestamp']}.{message['body']}".encode()
    (secret,) = re.findall("WEBHOOK_SECRET: whsec_(.+)", WEBHOOKS.read_text())
    signature = hmac.digest(base64.b64decode(secret), content, hashlib.sha256)
    assert message["webhook-signature"] == f"v1,{base64.b64encode(signature).decode()}", message
    assert json.loads(message["body"])["data"]["status"] == "finished", message
    compose("--profile", "webhooks", "rm", "--stop", "--force", "webhooks", "receiver")
    print("the webhook was told, and the message is signed")


def told() -> str:
    return docker("logs", compose("ps", "--quiet", "receiver").strip())  # compose's own are coloured


def main() -> None:
    eventually(lambda: ask("/health/ready")["status"] == "ready", 120, "the service is ready")
    for name in EXPECTED:
        classify(name)
    print(f"{len(EXPECTED)} samples have the expected classes")
    load = Load()
    with load.running():
        scale(worker=3, gateway=2)
        eventually(lambda: ask("/cfg")["workers"] == 3, 120, "three workers serve")
        again = crash_at_work(load)
        eventually(lambda: ask("/cfg")["workers"] == 3, 120, "three workers serve again")
        for _ in range(GATEWAYS_TAKEN):
            scale(worker=3, gateway=2)
            scale(worker=3, gateway=1)
    assert not load.faults, "\n".join(load.faults[:20])
    load.check_jobs()
    print(f"a worker killed: {again} of its jobs begun anew; gateways taken away: {GATEWAYS_TAKEN}")
    print(f"{load.answered} requests and {len(load.jobs)} jobs were answered, and rightly")
    check_webhook()


if __name__ == "__main__":
    main()
