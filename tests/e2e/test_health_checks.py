"""Tests the commands of the containers' health checks."""

import subprocess
import sys

from tests.stack import ROOT, Stack, eventually, free_port


def check_health(stack: Stack, module: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=stack.environ | environ,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_worker_with_a_warm_model_is_healthy(stack: Stack) -> None:
    assert check_health(stack, "worker.worker_health").returncode == 0
    other_database = check_health(stack, "worker.worker_health", REDIS_URL=f"{stack.valkey.url}?db=9")
    assert (other_database.returncode, "no worker" in other_database.stderr) == (1, True)
    unreachable = check_health(stack, "worker.worker_health", REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    assert unreachable.returncode == 1 and "Traceback" not in unreachable.stderr


def test_a_webhook_sender_is_healthy_when_it_runs(stack: Stack) -> None:
    assert check_health(stack, "webhooks.sender_health").returncode == 1
    sender = stack.start("webhooks", "webhooks")
    try:
        eventually(
            lambda: check_health(stack, "webhooks.sender_health").returncode == 0, 20, "the sender runs"
        )
    finally:
        sender.terminate()
        sender.wait(20)
