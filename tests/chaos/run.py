"""A stack for faults, and one fault done to it so many times."""

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.faults import FAULTS, LEASE, Bench
from tests.chaos.load import Load, Mailbox, Outcome
from tests.stack import Stack

DISK_MB = 1024
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@contextmanager
def bench_of_faults() -> Iterator[Bench]:
    """A gateway, two workers, a webhook sender and Redis, on a small disk where root runs this."""
    folder = Path(tempfile.mkdtemp(prefix="vk"))
    options = ["-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True).returncode == 0
    stack = Stack(
        redis_folder=folder,
        JOB_LEASE=LEASE,
        WEBHOOK_SECRET=SECRET,
        WEBHOOK_ALLOW="127.0.0.1",
        INPUT_BATCH=8,
        RESULT_TTL=600,
        CHAOS_PAUSE=0.05,  # so that workers nearly always have jobs in hand
    )
    try:
        yield Bench(stack)
    finally:
        stack.close()
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def strike(bench: Bench, name: str, runs: int) -> tuple[Load, Outcome, list[float]]:
    """Do a fault under load, so many times; what became of the jobs, and how long each recovery took.

    Its webhooks may take two minutes longer: `Load.told` waits for them.
    """
    faults = []
    with Load(bench.stack, Mailbox(), may_break=name.startswith("gateway")) as load:
        for _ in range(runs):
            time.sleep(random.uniform(1, 1.3))  # a fault comes at any moment of a batch
            bench.struck = time.monotonic()
            FAULTS[name](bench)
            bench.keep_two()
            time.sleep(0.5)
            faults.append((bench.struck, time.monotonic()))
            load.recovered(*faults[-1])
    outcome = load.settle()
    load.cleared()
    for line in (*load.lost, *load.wrong):
        print(line, file=sys.stderr)
    return load, outcome, [load.recovery(*each) for each in faults]
