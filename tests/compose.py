"""What `make compose-test` asks of the service that `docker compose up` has started; it needs Python alone.

Every sample is classified through the proxy; then, under load, there are three workers and two gateways, a
worker is killed and a gateway taken away, and each request and each job has its right answer.
"""

import contextlib
import json
import os
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

SAMPLES = Path(__file__).parent.parent / "demo" / "samples"
EXPECTED: dict[str, Any] = json.loads((SAMPLES / "expected.json").read_text())
URL = f"http://127.0.0.1:{os.environ.get('SERVER_PORT') or '8001'}"
JOBS_AT_ONCE = 20


def compose(*arguments: str) -> str:
    done = subprocess.run(["docker", "compose", *arguments], capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(f"docker compose {' '.join(arguments)}: {done.stderr[-2000:]}")
    return done.stdout


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60).stdout.strip()


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
        self.answered, self.jobs, self.faults = 0, dict[str, str](), list[str]()
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
        self.jobs |= {job["id"]: EXPECTED[name]["classes"][0] for job in told["jobs"]}
        self._stopped.wait(0.2)

    def check_jobs(self) -> None:
        """Every job that was accepted has ended with the right answer."""
        for job_id, expected in self.jobs.items():
            job = ask(f"/jobs/{job_id}?wait=60")
            assert job["status"] == "finished", job
            best = job["result"]["regions"][0]["predictions"][0]["class"]
            assert best == expected, f"{job_id}: {best}"


def crash(service: str) -> None:
    """Kill what runs in one of the service's containers, as the kernel does when memory is short."""
    container = compose("ps", "--quiet", service).split()[0]

    def starts() -> str:
        return docker("inspect", "--format", "{{.RestartCount}} {{.State.Running}}", container)

    count = int(starts().split()[0])
    docker("exec", container, "sh", "-c", "kill -9 -1")
    eventually(lambda: starts() == f"{count + 1} true", 60, f"the killed {service} is started again")


def main() -> None:
    eventually(lambda: ask("/health/ready")["status"] == "ready", 120, "the service is ready")
    for name in EXPECTED:
        classify(name)
    print(f"{len(EXPECTED)} samples have the expected classes")
    load = Load()
    with load.running():
        scale(worker=3, gateway=2)
        eventually(lambda: ask("/cfg")["workers"] == 3, 120, "three workers serve")
        crash("worker")
        scale(worker=3, gateway=1)
        eventually(lambda: ask("/cfg")["workers"] == 3, 120, "three workers serve again")
    assert not load.faults, "\n".join(load.faults[:20])
    load.check_jobs()
    print(f"a worker killed, a gateway taken away: {load.answered} requests, {len(load.jobs)} jobs answered")


if __name__ == "__main__":
    main()
