"""Starts a stack for the faults and runs one fault on it, any number of times."""

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.faults import FAULTS, LEASE, Bench
from tests.chaos.load import Load, Outcome, WebhookReceiver
from tests.e2e.conftest import SECRET
from tests.stack import Stack

DISK_MB = 1024


@contextmanager
def fault_bench() -> Iterator[Bench]:
    """Start a gateway, two workers, a webhook sender and Redis; for root, Redis gets its own small disk."""
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
        CHAOS_PAUSE=0.05,  # so that workers hold jobs nearly all the time
    )
    try:
        yield Bench(stack)
    finally:
        stack.close()
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def run_fault(bench: Bench, name: str, runs: int) -> tuple[Load, Outcome, list[float]]:
    """Cause a fault `runs` times under load; return the load, its outcome and the times of recovery.

    Webhooks may take two minutes longer. `Load.webhook_errors` waits for them.
    """
    faults = []
    with Load(bench.stack, WebhookReceiver(), may_break=name.startswith("gateway")) as load:
        for _ in range(runs):
            time.sleep(random.uniform(1, 1.3))  # faults strike at random moments of a batch
            bench.fault_time = time.monotonic()
            FAULTS[name](bench)
            bench.ensure_two_workers()
            time.sleep(0.5)
            faults.append((bench.fault_time, time.monotonic()))
            load.wait_for_recovery(*faults[-1])
    outcome = load.count_outcome()
    load.wait_until_redis_is_clean()
    for line in (*load.lost, *load.wrong):
        print(line, file=sys.stderr)
    return load, outcome, [load.recovery_time(*each) for each in faults]
