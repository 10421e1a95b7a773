"""The faults: each is done to a stack under load, and is over when its function returns."""

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
from tests.pictures import saved
from tests.stack import Stack, eventually

LEASE, BATCH_TIMEOUT = 2, 2
TOO_LATE = "discarded: its lease had ended"
"""What a worker logs of a result that it may not write any more."""


class Bench:
    """A stack with two workers that can be made to fail, a webhook sender, and what the faults need."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.switch = stack.folder / "fault"
        self.proxy = Proxy(stack.valkey.folder / "s", stack.folder / "proxy")
        self.struck = 0.0
        """When the last fault came, by time.monotonic()."""
        self.clock = stack.folder / "clock"
        self.clock.write_text("0")
        stack.start("webhooks", "webhooks")
        self.keep_two()

    def start_worker(self, **environ: str) -> "subprocess.Popen[bytes]":
        environ = {"CHAOS_FILE": str(self.switch), "BATCH_TIMEOUT": str(BATCH_TIMEOUT), **environ}
        process = self.stack.start("worker", "tests.chaos.faulty_worker", **environ)
        self.stack.workers.append(process)
        return process

    def replace(self) -> None:
        """As a supervisor would: start a worker for each that has ended."""
        alive = [each for each in self.stack.workers if each.poll() is None]
        for _ in range(2 - len(alive)):
            self.start_worker()

    def keep_two(self) -> None:
        """Return when two workers serve."""
        self.replace()
        eventually(
            lambda: self.stack.logs("worker").count("worker started") == len(self.stack.workers),
            90,
            "they serve",
        )
        eventually(lambda: self.answers(), 60, "the service answers")

    def answers(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return self.stack.classify(demo.SAMPLES / "siete.jpg").status_code == 200
        return False

    def a_worker(self) -> "subprocess.Popen[bytes]":
        return random.choice([each for each in self.stack.workers if each.poll() is None])

    def busy(self) -> None:
        """Return when jobs are held under a lease."""
        eventually(lambda: self.stack.valkey.client.zcard("rq:wip:interactive"), 20, "jobs are running")

    def count(self, line: str) -> int:
        """How often workers have logged this; of what earlier faults left, too."""
        return self.stack.logs("worker").count(line)

    def held_by(self, worker: "subprocess.Popen[bytes]") -> set[bytes]:
        """What this very worker has under a lease."""
        client = self.stack.valkey.client
        keys = [key for key in client.smembers("rq:workers") if f"-{worker.pid}-".encode() in key]
        return {each for key in keys for each in client.smembers(key + b":executions")}

    def clock_of(self, worker: "subprocess.Popen[bytes]") -> float:
        """Seconds by which the clock is ahead that this worker writes its times by."""
        client = self.stack.valkey.client
        (key,) = (key for key in client.smembers("rq:workers") if f"-{worker.pid}-".encode() in key)
        written = client.hget(key, "last_heartbeat").decode()
        return datetime.fromisoformat(written).timestamp() - time.time()

    def strike_while_it_holds(
        self,
        worker: "subprocess.Popen[bytes]",
        strike: Callable[[], None],
        undo: Callable[[], None],
        lead: float,
    ) -> None:
        """Do something to a worker at a moment at which it has jobs, and has had them for `lead` seconds."""
        for _ in range(300):
            held = self.held_by(worker)
            time.sleep(lead)
            self.struck = time.monotonic()
            strike()
            time.sleep(0.05)  # what it had sent by then, arrives
            if held & self.held_by(worker):
                return
            undo()
            time.sleep(random.uniform(0, 0.1))
        raise AssertionError("the worker never had a job in hand")


def worker_killed(bench: Bench) -> None:
    bench.busy()
    victim = bench.a_worker()
    victim.kill()
    victim.wait()


def worker_stopped(bench: Bench) -> None:
    bench.busy()
    victim = bench.a_worker()
    victim.terminate()
    assert victim.wait(20) == 0


def worker_frozen(bench: Bench) -> None:
    """Longer than its lease: when it wakes, others have its jobs, and what it settles must not count."""
    # One whose watchdog does not take this for a model that hangs.
    victim = bench.start_worker(BATCH_TIMEOUT="60", CHAOS_PAUSE="0.2")
    bench.keep_two()
    before = bench.count(TOO_LATE)
    stop, go_on = (partial(victim.send_signal, each) for each in (signal.SIGSTOP, signal.SIGCONT))
    bench.strike_while_it_holds(victim, stop, go_on, 0.02)
    time.sleep(LEASE + 2)
    go_on()
    eventually(lambda: bench.count(TOO_LATE) > before, 20, "what it settles is dropped")
    victim.terminate()
    assert victim.wait(20) == 0


def gateway_killed(bench: Bench) -> None:
    (child, *_) = psutil.Process(bench.stack.gateway.pid).children()
    child.kill()


def gateway_master_killed(bench: Bench) -> None:
    """Its children see that it is gone, and end; then another one listens."""
    children = psutil.Process(bench.stack.gateway.pid).children()
    bench.stack.gateway.kill()
    bench.stack.gateway.wait()
    assert not psutil.wait_procs(children, 20)[1], "a gateway without a master lives on"
    bench.stack.start_gateway()


def gateway_stopped(bench: Bench) -> None:
    """A deployment: the old one ends what it has begun, held up by workers; then the new one listens."""
    workers = [each for each in bench.stack.workers if each.poll() is None]
    for each in workers:
        each.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(4) as pool:
        flying = [pool.submit(bench.answers) for _ in range(4)]
        time.sleep(0.7)
        bench.stack.gateway.terminate()
        time.sleep(0.3)
        for each in workers:
            each.send_signal(signal.SIGCONT)
        assert all(each.result() for each in flying), "requests in flight were not answered"
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
    """Between one worker and Redis, for longer than the lease: what it settles late must not count."""
    other = bench.start_worker(REDIS_URL=bench.proxy.url, CHAOS_PAUSE="0.2")
    bench.keep_two()
    before = bench.count(TOO_LATE)
    bench.strike_while_it_holds(other, bench.proxy.cut, bench.proxy.mend, 0.02)
    time.sleep(LEASE + 2)
    bench.proxy.mend()
    eventually(lambda: bench.count(TOO_LATE) > before, 20, "what it settles is dropped")
    other.terminate()
    assert other.wait(20) == 0


def model_hangs(bench: Bench) -> None:
    bench.switch.write_text("hang")
    alive = [each for each in bench.stack.workers if each.poll() is None]
    eventually(lambda: any(each.poll() == 1 for each in alive), BATCH_TIMEOUT + 20, "the watchdog ends it")


def model_raises(bench: Bench) -> None:
    """On one image: its caller is told, its neighbours are answered."""
    for _ in range(5):
        answer = bench.stack.classify(saved(Image.new("RGB", (64, 64), MAGENTA), "PNG"))
        assert answer.status_code == 500 and "magenta" in answer.json()["detail"], answer.text


def memory_short(bench: Bench) -> None:
    old = [each for each in bench.stack.workers if each.poll() is None]
    for _ in old:  # new ones, which run batches of full size
        bench.start_worker()
    bench.keep_two()
    for each in old:
        each.terminate()
        assert each.wait(20) == 0
    before = bench.count("runs at most")
    bench.switch.write_text("oom")
    eventually(lambda: bench.count("runs at most") > before, 30, "batches are halved")
    bench.switch.unlink()


def image_kills(bench: Bench) -> None:
    """Whoever decodes it dies: it is tried so often, the last time alone, and fails with the reason."""
    image = (demo.SAMPLES / "digits" / "7.png").read_bytes() + POISON
    answer = requests.post(f"{bench.stack.url}/jobs", files={"blob": image}, timeout=30)
    href = answer.json()["jobs"][0]["href"]

    def ended() -> dict[str, Any]:
        bench.replace()
        return dict(requests.get(f"{bench.stack.url}{href}?wait=1", timeout=30).json())

    eventually(lambda: ended()["status"] == "failed", 120, "the job is given up")
    told = ended()
    assert told["attempts"] == 3 and told["error"]["code"] == "attempts-exhausted", told


def decoder_hangs(bench: Bench) -> None:
    """Its worker looks alive and takes no job any more, until the watchdog sees it."""
    before = bench.count("decoding has not ended for")
    bench.switch.write_text("hang decoder")
    alive = [each for each in bench.stack.workers if each.poll() is None]
    eventually(lambda: any(each.poll() == 1 for each in alive), BATCH_TIMEOUT + 20, "the watchdog ends it")
    assert bench.count("decoding has not ended for") > before


def clock_jumps(bench: Bench) -> None:
    """An hour ahead and back, for one worker; Redis' clock is the one that leases go by."""
    other = bench.start_worker(CHAOS_CLOCK=str(bench.clock))
    bench.keep_two()
    for jump in (3600, -3600, 0):
        bench.clock.write_text(str(jump))
        eventually(lambda jump=jump: abs(bench.clock_of(other) - jump) < 60, 20, "its clock has jumped")
        time.sleep(1)
    other.terminate()
    assert other.wait(20) == 0


def redis_clock_jumps(bench: Bench) -> None:
    """Half a minute ahead, so that every lease is over, and back, as a clock that is set by hand."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        raise Missing("libfaketime")
    bench.clock.write_text("+0")
    valkey = bench.stack.valkey
    valkey.stop()
    valkey.environ = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(bench.clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    valkey.start()
    eventually(bench.answers, 30, "the service answers again")
    for jump in ("+30", "-30", "+0"):
        bench.busy()
        bench.clock.write_text(jump)
        time.sleep(2)
        assert abs(valkey.client.time()[0] - time.time() - int(jump)) < 2
    bench.clock.write_text("0")
    valkey.stop()
    valkey.environ = {}
    valkey.start()


@contextlib.contextmanager
def full_disk(bench: Bench) -> Iterator[Callable[[], None]]:
    """There is no room beside Redis' append-only file; called again, it fills what a rewrite has freed."""
    folder = bench.stack.valkey.folder
    if not os.path.ismount(folder):
        raise Missing("a small disk of its own (root only)")
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
    """Redis can't write its append-only file; what it can't keep, it must not accept."""
    client = bench.stack.valkey.client

    def writes(status: str) -> bool:
        return bool(client.info("persistence")["aof_last_write_status"] == status)

    with full_disk(bench) as fill:
        eventually(lambda: fill() or writes("err"), 30, "Redis can't write")
        assert bench.stack.classify(demo.SAMPLES / "siete.jpg").status_code == 503
        time.sleep(1)
    # As docs/reliability.md says: what the short writes have left could not be read by a next start.
    eventually(lambda: writes("ok"), 20, "it writes again")
    with contextlib.suppress(ResponseError):  # it does so already
        client.bgrewriteaof()
    eventually(lambda: not client.info("persistence")["aof_rewrite_in_progress"], 30, "a whole file")


def disk_full_always(bench: Bench) -> None:
    """With `appendfsync always` Redis ends itself instead; whoever started it, starts it again."""
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


class Missing(Exception):
    """What this machine lacks for a fault."""


FAULTS: dict[str, Callable[[Bench], None]] = {
    each.__name__: each
    for each in (
        *(worker_killed, worker_stopped, worker_frozen, gateway_killed, gateway_master_killed),
        *(gateway_stopped, redis_killed, redis_frozen, redis_full, disk_full, disk_full_always),
        *(
            connection_cut,
            model_hangs,
            model_raises,
            memory_short,
            image_kills,
            decoder_hangs,
            clock_jumps,
            redis_clock_jumps,
        ),
    )
}
