"""`python -m worker.worker_health`: a health check that succeeds while a worker of this host is alive."""

import socket
import sys

from redis.exceptions import RedisError

from shared.queue.worker_client import WorkerQueue
from shared.redis_connection import connect
from shared.settings import Settings, SettingsError, redis_url


def main() -> int:
    """Return 0 if a worker of this host sent a heartbeat lately, else print the reason and return 1."""
    try:
        settings = Settings.from_environ()
        workers = WorkerQueue(connect(redis_url(settings), retries=0), settings).fleet.alive()
    except (SettingsError, RedisError) as error:
        print(error, file=sys.stderr)
        return 1
    if any(name.startswith(f"{socket.gethostname()}-") for name in workers):
        return 0
    print("no worker of this host is alive: its model is loading, or the worker died", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
