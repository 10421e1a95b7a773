"""`python -m webhooks.sender_health`: for health checks: whether RQ knows senders of this machine."""

import socket
import sys

from redis.exceptions import RedisError
from rq import Queue, Worker

from shared.redis_connection import connect
from shared.settings import Settings, SettingsError, redis_url
from shared.webhook import QUEUE


def main() -> int:
    """Return 0 if RQ knows a live sender here, else 1 with the reason."""
    try:
        queue = Queue(QUEUE, connection=connect(redis_url(Settings.from_environ()), retries=0))
        senders = Worker.all(queue=queue)
    except (SettingsError, RedisError) as error:
        print(error, file=sys.stderr)
        return 1
    if any(sender.hostname == socket.gethostname() for sender in senders):
        return 0
    print("no sender of this machine is at work", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
