"""The faults of `make chaos`. Each function causes a fault in a stack under load and ends the fault."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import requests
from PIL import Image
from redis.exceptions import ResponseError

import demo
from tests.chaos.faulty_worker import MAGENTA, POISON
from tests.chaos.proxy import Proxy
from tests.images import saved
from tests.stack import Stack, eventually

LEASE, BATCH_TIMEOUT = 2, 2
TOO_LATE = "discarded: its lease had ended"
"""The worker's log line for a result whose lease ended."""


class Bench:
    """A stack with two faulty workers and a webhook sender, and the tools that the faults need."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.fault_file = stack.folder / "fault"
        self.proxy = Proxy(stack.valkey.folder / "s", stack.folder / "proxy")
        self.fault_time = 0.0
        """The time of the last fault, by time.monotonic()."""
        self.clock_file = stack.folder / "clock"
        self.clock_file.write_text("0")
        stack.start("webhooks", "webhooks")
        self.ensure_two_workers()

    def start_worker(self, **environ: str) -> "subprocess.Popen[bytes]":
        environ = {"CHAOS_FILE": str(self.fault_file), "BATCH_TIMEOUT": str(BATCH_TIMEOUT), **environ}
        return self.stack.start_worker("tests.chaos.faulty_worker", wait=False, **environ)

    def replace_ended_workers(self) -> None:
        """Start a worker for each worker that ended, as a supervisor does."""
        for _ in range(2 - len(self.stack.running_workers())):
            self.start_worker()

    def ensure_two_workers(self) -> None:
        """Return when two workers claim jobs and the service answers."""
        self.replace_ended_workers()
        eventually(
            lambda: self.stack.logs("worker").count("worker started") == len(self.stack.workers),
            90,
            "the workers claim jobs",
        )
        eventually(lambda: self.answers(), 60, "the service answers")

    def answers(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return self.stack.classify(demo.SAMPLES / "siete.jpg").status_code == 200
        return False

    def random_worker(self) -> "subprocess.Popen[bytes]":
        return random.choice(self.stack.running_workers())

    def wait_until_busy(self) -> None:
        """Return when workers hold jobs under a lease."""
        eventually(lambda: self.stack.valkey.client.zcard("rq:wip:interactive"), 20, "jobs are running")

    def count_logged(self, line: str) -> int:
        """Return how often workers have logged this text, also during earlier faults."""
        return self.stack.logs("worker").count(line)

    def jobs_held_by(self, worker: "subprocess.Popen[bytes]") -> set[bytes]:
        """Return the jobs that this worker holds under a lease."""
        client = self.stack.valkey.client
        keys = [key for key in client.smembers("rq:workers") if f"-{worker.pid}-".encode() in key]
        return {each for key in keys for each in client.smembers(key + b":executions")}

    def clock_offset(self, worker: "subprocess.Popen[bytes]") -> float:
        """Return the seconds by which this worker's clock is ahead."""
        client = self.stack.valkey.client
        (key,) = (key for key in client.smembers("rq:workers") if f"-{worker.pid}-".encode() in key)
        written = client.hget(key, "last_heartbeat").decode()
        return datetime.fromisoformat(written).timestamp() - time.time()

    def disrupt_while_it_holds_jobs(
        self,
        worker: "subprocess.Popen[bytes]",
        disrupt: Callable[[], None],
        undo: Callable[[], None],
        lead: float,
    ) -> None:
        """Call `disrupt` when the worker has held jobs for `lead` seconds; `undo` reverts a failed try."""
        for _ in range(300):
            held = self.jobs_held_by(worker)
            time.sleep(lead)
            self.fault_time = time.monotonic()
            disrupt()
            time.sleep(0.05)  # until Redis has received the commands that were under way
            if held & self.jobs_held_by(worker):
                return
            undo()
            time.sleep(random.uniform(0, 0.1))
        raise AssertionError("the worker never held a job at the right moment")


def worker_killed(bench: Bench) -> None:
    bench.wait_until_busy()
    victim = bench.random_worker()
    victim.kill()
    victim.wait()


def worker_stopped(bench: Bench) -> None:
    bench.wait_until_busy()
    victim = bench.random_worker()
    victim.terminate()
    assert victim.wait(20) == 0


def worker_frozen(bench: Bench) -> None:
    """Freeze a worker for longer than its lease. Others get its jobs, so its results must not count."""
    # The long timeout keeps the worker's watchdog from ending the frozen worker.
    victim = bench.start_worker(BATCH_TIMEOUT="60", CHAOS_PAUSE="0.2")
    bench.ensure_two_workers()
    before = bench.count_logged(TOO_LATE)
    freeze, resume = (partial(victim.send_signal, each) for each in (signal.SIGSTOP, signal.SIGCONT))
    bench.disrupt_while_it_holds_jobs(victim, freeze, resume, 0.02)
    time.sleep(LEASE + 2)
    resume()
    eventually(lambda: bench.count_logged(TOO_LATE) > before, 20, "its late results are dropped")
    victim.terminate()
    assert victim.wait(20) == 0


def gateway_killed(bench: Bench) -> None:
    (child, *_) = psutil.Process(bench.stack.gateway.pid).children()
    child.kill()


def gateway_master_killed(bench: Bench) -> None:
    """Kill the gateway's master process. Its child processes notice this and end; a new gateway starts."""
    children = psutil.Process(bench.stack.gateway.pid).children()
    bench.stack.gateway.kill()
    bench.stack.gateway.wait()
    assert not psutil.wait_procs(children, 20)[1], "a gateway process outlives its master process"
    bench.stack.start_gateway()


def gateway_stopped(bench: Bench) -> None:
    """Deploy: frozen workers delay the old gateway, which answers its requests; then a new gateway starts."""
    workers = bench.stack.running_workers()
    for each in workers:
        each.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(4) as pool:
        in_flight = [pool.submit(bench.answers) for _ in range(4)]
        time.sleep(0.7)
        bench.stack.gateway.terminate()
        time.sleep(0.3)
        for each in workers:
            each.send_signal(signal.SIGCONT)
        assert all(each.result() for each in in_flight), "requests in flight were not answered"
    assert bench.stack.gateway.wait(30) == 0
    bench.stack.start_gateway()


def redis_killed(bench: Bench) -> None:
    bench.stack.valkey.stop(signal.SIGKILL)
    time.sleep(0.5)
    bench.stack.valkey.start()


def redis_frozen(bench: Bench) -> None:
    process = bench.stack.valkey.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    process.send_signal(signal.SIGCONT)


def redis_full(bench: Bench) -> None:
    client = bench.stack.valkey.client
    client.config_set("maxmemory", client.info("memory")["used_memory"] - 100_000)
    answer = bench.stack.classify(demo.SAMPLES / "siete.jpg")
    assert answer.status_code == 503, answer.text
    time.sleep(2)
    client.config_set("maxmemory", 0)


def connection_cut(bench: Bench) -> None:
    """Cut one worker's connection to Redis for longer than its lease. Its late results must not count."""
    other = bench.start_worker(REDIS_URL=bench.proxy.url, CHAOS_PAUSE="0.2")
    bench.ensure_two_workers()
    before = bench.count_logged(TOO_LATE)
    bench.disrupt_while_it_holds_jobs(other, bench.proxy.cut, bench.proxy.restore, 0.02)
    time.sleep(LEASE + 2)
    bench.proxy.restore()
    eventually(lambda: bench.count_logged(TOO_LATE) > before, 20, "its late results are dropped")
    other.terminate()
    assert other.wait(20) == 0


def model_hangs(bench: Bench) -> None:
    bench.fault_file.write_text("hang")
    workers = bench.stack.running_workers()
    eventually(
        lambda: any(each.poll() == 1 for each in workers), BATCH_TIMEOUT + 20, "a watchdog ends a worker"
    )


def device_lost(bench: Bench) -> None:
    """Let the device of one worker fail. The worker gives its jobs back at once and ends with status 1."""
    workers, died = bench.stack.running_workers(), bench.count_logged("its worker died")
    bench.fault_file.write_text("lost")
    eventually(lambda: any(each.poll() == 1 for each in workers), 20, "a worker without a device ends")
    assert "device lost: Xid 79: GPU has fallen off the bus; the worker ends" in bench.stack.logs("worker")
    time.sleep(LEASE + 1)  # until the leases of a dead worker would have ended
    assert bench.count_logged("its worker died") == died


def model_raises(bench: Bench) -> None:
    """Let the model fail on one image. Its caller gets the error; the batch's other images are answered."""
    for _ in range(5):
        answer = bench.stack.classify(saved(Image.new("RGB", (64, 64), MAGENTA), "PNG"))
        assert answer.status_code == 500 and "magenta" in answer.json()["detail"], answer.text


def memory_short(bench: Bench) -> None:
    old = bench.stack.running_workers()
    for _ in old:  # earlier faults may have halved the old workers' batches
        bench.start_worker()
    bench.ensure_two_workers()
    for each in old:
        each.terminate()
        assert each.wait(20) == 0
    before = bench.count_logged("runs at most")
    bench.fault_file.write_text("oom")
    eventually(lambda: bench.count_logged("runs at most") > before, 30, "batches are halved")
    bench.fault_file.unlink()


def image_kills(bench: Bench) -> None:
    """Kill each worker that decodes an image. The last attempt runs alone; the job fails with the reason."""
    image = (demo.SAMPLES / "digits" / "7.png").read_bytes() + POISON
    answer = requests.post(f"{bench.stack.url}/jobs", files={"blob": image}, timeout=30)
    href = answer.json()["jobs"][0]["href"]

    def ended_job() -> dict[str, Any]:
        bench.replace_ended_workers()
        return dict(requests.get(f"{bench.stack.url}{href}?wait=1", timeout=30).json())

    eventually(lambda: ended_job()["status"] == "failed", 120, "the job fails")
    job = ended_job()
    assert job["attempts"] == 3 and job["error"]["code"] == "attempts-exhausted", job


def decoder_hangs(bench: Bench) -> None:
    """Let the decoder hang. Its worker sends heartbeats but claims no jobs until the watchdog ends it."""
    before = bench.count_logged("decoding has taken longer than")
    bench.fault_file.write_text("hang decoder")
    workers = bench.stack.running_workers()
    eventually(
        lambda: any(each.poll() == 1 for each in workers), BATCH_TIMEOUT + 20, "a watchdog ends a worker"
    )
    assert bench.count_logged("decoding has taken longer than") > before


def clock_jumps(bench: Bench) -> None:
    """Set one worker's clock an hour ahead and back. Leases use Redis' clock, so nothing must change."""
    other = bench.start_worker(CHAOS_CLOCK=str(bench.clock_file))
    bench.ensure_two_workers()
    for jump in (3600, -3600, 0):
        bench.clock_file.write_text(str(jump))
        eventually(
            lambda jump=jump: abs(bench.clock_offset(other) - jump) < 60, 20, "the worker's clock is changed"
        )
        time.sleep(1)
    other.terminate()
    assert other.wait(20) == 0


def redis_clock_jumps(bench: Bench) -> None:
    """Set Redis' clock half a minute ahead, so that every lease ends, and back."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        raise MissingRequirement("libfaketime")
    bench.clock_file.write_text("+0")
    valkey = bench.stack.valkey
    valkey.stop()
    valkey.environ = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(bench.clock_file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    valkey.start()
    eventually(bench.answers, 30, "the service answers again")
    for jump in ("+30", "-30", "+0"):
        bench.wait_until_busy()
        bench.clock_file.write_text(jump)
        time.sleep(2)
        assert abs(valkey.client.time()[0] - time.time() - int(jump)) < 2
    bench.clock_file.write_text("0")
    valkey.stop()
    valkey.environ = {}
    valkey.start()


@contextlib.contextmanager
def full_disk(bench: Bench) -> Iterator[Callable[[], None]]:
    """Fill Redis' disk; the returned function fills the space again that a rewrite has freed."""
    folder = bench.stack.valkey.folder
    if not os.path.ismount(folder):
        raise MissingRequirement("a separate small disk (root only)")
    ballast = folder / "ballast"

    def fill() -> None:
        with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(65536))

    try:
        fill()
        yield fill
    finally:
        ballast.unlink()


def disk_full(bench: Bench) -> None:
    """Keep Redis from writing its append-only file. Redis must not accept jobs that it cannot write."""
    client = bench.stack.valkey.client

    def write_status_is(status: str) -> bool:
        return bool(client.info("persistence")["aof_last_write_status"] == status)

    with full_disk(bench) as fill:
        eventually(lambda: fill() or write_status_is("err"), 30, "Redis cannot write")
        assert bench.stack.classify(demo.SAMPLES / "siete.jpg").status_code == 503
        time.sleep(1)
    # The failed writes leave broken lines that the next start could not read; see docs/reliability.md.
    eventually(lambda: write_status_is("ok"), 20, "Redis writes again")
    with contextlib.suppress(ResponseError):  # a rewrite is already running
        client.bgrewriteaof()
    eventually(lambda: not client.info("persistence")["aof_rewrite_in_progress"], 30, "the file is rewritten")


def disk_full_always(bench: Bench) -> None:
    """Fill the disk with `appendfsync always`. Redis then ends itself and is started again."""
    valkey = bench.stack.valkey
    process = valkey.process
    assert process is not None
    valkey.client.config_set("appendfsync", "always")

    def ended() -> bool:
        fill()
        return process.poll() == 1

    with full_disk(bench) as fill:
        eventually(ended, 30, "Redis ends")
        time.sleep(1)
    valkey.process = None
    valkey.start()


class MissingRequirement(Exception):
    """This machine lacks a program or privilege that a fault needs; the message names it."""


FAULTS: dict[str, Callable[[Bench], None]] = {
    each.__name__: each
    for each in (
        *(worker_killed, worker_stopped, worker_frozen, gateway_killed, gateway_master_killed),
        *(gateway_stopped, redis_killed, redis_frozen, redis_full, disk_full, disk_full_always),
        *(
            connection_cut,
            model_hangs,
            device_lost,
            model_raises,
            memory_short,
            image_kills,
            decoder_hangs,
            clock_jumps,
            redis_clock_jumps,
        ),
    )
}
