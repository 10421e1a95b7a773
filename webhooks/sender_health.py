"""`python -m webhooks.sender_health`: a health check that succeeds while this machine has a live sender."""

import socket
import sys

from redis.exceptions import RedisError
from rq import Queue, Worker

from shared.redis_connection import connect
from shared.settings import Settings, SettingsError, redis_url
from shared.webhook import QUEUE


def main() -> int:
    """Return 0 if RQ lists a live sender of this machine; otherwise print the reason and return 1."""
    try:
        queue = Queue(QUEUE, connection=connect(redis_url(Settings.from_environ()), retries=0))
        senders = Worker.all(queue=queue)
    except (SettingsError, RedisError) as error:
        print(error, file=sys.stderr)
        return 1
    if any(sender.hostname == socket.gethostname() for sender in senders):
        return 0
    print("RQ lists no webhook sender of this machine. Start it: python -m webhooks", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
