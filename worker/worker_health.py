"""`python -m worker.worker_health`: a health check that succeeds while a worker of this host is alive."""

import socket
import sys

from redis import Redis

from shared.queue.worker_client import WorkerQueue
from shared.settings import Settings
from shared.startup import check_health


def is_alive(redis: "Redis", settings: Settings) -> bool:
    """Return whether a worker of this host sent a heartbeat recently."""
    names = WorkerQueue(redis, settings).fleet.alive()
    return any(name.startswith(f"{socket.gethostname()}-") for name in names)


if __name__ == "__main__":
    sys.exit(
        check_health(is_alive, "no worker of this host is alive: its model is loading, or the worker died")
    )
