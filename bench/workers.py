"""What a job costs Redis by the number of workers on it: `python -m bench.workers`.

Real workers, all but the model, for which constant scores stand so that thirty-two fit on a small machine:
they claim, fetch, decode, decide and settle jobs that are all queued beforehand, up to 32 at a time. Printed
for each number: jobs a second, a job's share of Redis' CPU, of its commands and of the workers' CPU, and
Redis' CPU while the workers are idle. Jobs a second are bounded by this machine's cores, which the workers
share with Redis; what Redis alone could take is one second divided by a job's share of it.
"""

import subprocess
import sys
import time
from uuid import uuid4

import numpy as np
import psutil
from numpy.typing import NDArray
from redis import Redis

import demo
from bench.models import light
from shared.connection import connect
from shared.job import Options
from shared.queue import BULK, JobQueue
from shared.records import NewJob
from shared.settings import Settings
from tests.valkey import Valkey
from worker.decide import Decider
from worker.decode import PixelSpec
from worker.labels import read_classes
from worker.worker import BatchWorker, Service

COUNTS, JOBS, IDLE_SECONDS = (1, 2, 4, 8, 16, 32), 20_000, 10.0
SETTINGS = Settings(bulk_queue_size=10**6, max_queue_bytes=2**40)


class Constant:
    """Stands for the model."""

    input_batch = 32

    def run(self, pixels: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """The same scores for each of [n, 32, 32, 3] pixels."""
        return np.full((len(pixels), 20), 0.05, np.float32)


def work(url: str) -> None:
    """Be a worker until told to stop."""
    classes = read_classes(demo.CLASSES)
    description = {
        "classes": list(classes),
        "fingerprint": "f" * 64,
        "thresholds": "t" * 64,
        "id": "constant",
    }
    service = Service(Constant(), Decider(classes, {}, 0.5), PixelSpec(32, 32, 3), description, 1000.0)
    BatchWorker(connect(url), SETTINGS, service).serve()


def main() -> None:
    """Print the table."""
    if sys.argv[1:]:
        return work(sys.argv[1])
    print(
        "workers | jobs/s | Redis: CPU us, commands a job | workers: CPU us a job | Redis idle, % of a core"
    )
    for count in COUNTS:
        server = Valkey()
        workers = [
            psutil.Popen([sys.executable, "-m", "bench.workers", server.url], stdout=subprocess.DEVNULL)
            for _ in range(count)
        ]
        try:
            print(f"{count:7} | {_measure(server, workers)}", flush=True)
        finally:
            for each in workers:
                each.kill()
                each.wait()
            server.remove()
    return None


def _measure(server: Valkey, workers: list[psutil.Popen]) -> str:
    redis, process = connect(server.url), psutil.Process(server.process.pid)
    while redis.scard("rq:workers") < len(workers):
        time.sleep(0.1)
    time.sleep(3)  # their start is over
    before = _cpu([process])
    time.sleep(IDLE_SECONDS)
    idle = (_cpu([process]) - before) / IDLE_SECONDS * 100
    redis.set("rq:suspended", 1)  # RQ's own word: no worker takes a job
    time.sleep(1.5)
    _fill(JobQueue(redis, SETTINGS))
    before, commands, theirs = _cpu([process]), _commands(redis), _cpu(workers)
    redis.delete("rq:suspended")
    start = time.monotonic()
    while redis.zcard("rq:finished:bulk") < JOBS:
        time.sleep(0.05)
    took = time.monotonic() - start
    spent = (_cpu([process]) - before) * 1e6 / JOBS
    per_job = (_commands(redis) - commands) / JOBS
    work = (_cpu(workers) - theirs) * 1e6 / JOBS
    return f"{JOBS / took:6.0f} | {spent:6.1f} {per_job:6.2f} | {work:6.0f} | {idle:5.2f}"


def _fill(queue: JobQueue) -> None:
    images = [each.read_bytes() for each in light().images]
    for start in range(0, JOBS, 500):
        jobs = [
            NewJob(uuid4().hex, images[n % len(images)], Options(), "r") for n in range(start, start + 500)
        ]
        queue.submit(jobs, BULK)


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def _commands(redis: "Redis") -> int:
    return int(redis.info("stats")["total_commands_processed"])


if __name__ == "__main__":
    main()
