"""A health check that succeeds if a webhook sender of this machine is alive.

Run it with `python -m webhooks.sender_health`.
"""

import socket
import sys

from redis import Redis
from rq import Queue, Worker

from shared.settings import Settings
from shared.startup import check_health
from shared.webhook import QUEUE


def is_alive(redis: "Redis", settings: Settings) -> bool:
    """Return whether RQ lists a live webhook sender of this machine."""
    senders = Worker.all(queue=Queue(QUEUE, connection=redis))
    return any(sender.hostname == socket.gethostname() for sender in senders)


if __name__ == "__main__":
    sys.exit(
        check_health(is_alive, "RQ lists no webhook sender of this machine. Start it: python -m webhooks")
    )
