"""The commands that a container's health is asked with."""

import subprocess
import sys

from tests.stack import ROOT, Stack, eventually, free_port


def ask(stack: Stack, module: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=stack.environ | environ,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_worker_with_a_warm_model_is_healthy(stack: Stack) -> None:
    assert ask(stack, "worker.worker_health").returncode == 0
    elsewhere = ask(stack, "worker.worker_health", REDIS_URL=f"{stack.valkey.url}?db=9")
    assert (elsewhere.returncode, "no worker" in elsewhere.stderr) == (1, True)
    away = ask(stack, "worker.worker_health", REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    assert away.returncode == 1 and "Traceback" not in away.stderr


def test_a_sender_of_webhooks_is_healthy_once_it_is_at_work(stack: Stack) -> None:
    assert ask(stack, "webhooks.sender_health").returncode == 1
    sender = stack.start("webhooks", "webhooks")
    try:
        eventually(lambda: ask(stack, "webhooks.sender_health").returncode == 0, 20, "the sender is at work")
    finally:
        sender.terminate()
        sender.wait(20)
