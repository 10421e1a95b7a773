"""`python -m worker.worker_health`: for health checks: whether a worker of this machine takes jobs."""

import socket
import sys

from redis.exceptions import RedisError

from shared.queue.worker_client import WorkerQueue
from shared.redis_connection import connect
from shared.settings import Settings, SettingsError, redis_url


def main() -> int:
    """Return 0 if Redis has heard lately of a worker here with a warm model, else 1 with the reason."""
    try:
        settings = Settings.from_environ()
        workers = WorkerQueue(connect(redis_url(settings), retries=0), settings).fleet.alive()
    except (SettingsError, RedisError) as error:
        print(error, file=sys.stderr)
        return 1
    if any(name.startswith(f"{socket.gethostname()}-") for name in workers):
        return 0
    print("no worker of this machine takes jobs: its model is being loaded, or it has died", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
