"""Runs RQ workers that send webhooks. The workers run until SIGTERM.

Start the workers with `python -m webhooks`.
"""

import sys
from collections.abc import Callable
from typing import Any

from rq import SimpleWorker
from rq.serializers import JSONSerializer
from rq.worker_pool import WorkerPool

from shared.logs import setup_logging
from shared.redis_connection import connect, wait_until_reachable
from shared.rq_compat import SafeJob
from shared.settings import Settings, SettingsError, redis_url
from shared.startup import refuse_start
from shared.webhook import FUNCTION, QUEUE
from webhooks.deliver import Undeliverable, deliver

MAINTENANCE_SECONDS = 20
"""Number of seconds between two searches for lost webhook deliveries. A delivery is lost if its sender
died or lost its Redis connection. By default, RQ would search every 600 seconds."""

IDLE_SECONDS = 5
"""Maximum time of one wait for a new webhook delivery, in seconds. By default, RQ would wait up to 405
seconds. RQ searches for lost deliveries only between two such waits."""


class Delivery(SafeJob):
    """A subclass of RQ's `Job` that runs only the function `deliver`.

    A program with access to Redis therefore cannot make the webhook sender run other functions.
    """

    @property
    def func(self) -> Callable[..., Any]:
        """Return the function `deliver`.

        Raises:
            Undeliverable: the job's record names another function.
        """
        if self.func_name != FUNCTION:
            raise Undeliverable(
                f"invalid job record: expected the function {FUNCTION!r}, got {self.func_name!r}"
            )
        return deliver

    def perform(self) -> Any:
        """Send the webhook. If `deliver` raises `Undeliverable`, RQ does not send the webhook again."""
        try:
            return super().perform()
        except Undeliverable:
            self.retries_left = 0
            raise


class Sender(SimpleWorker):
    """An RQ worker that searches for lost webhook deliveries every `MAINTENANCE_SECONDS`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "maintenance_interval": MAINTENANCE_SECONDS})

    @property
    def dequeue_timeout(self) -> int:
        """Return the maximum number of seconds that RQ's loop waits for a new delivery."""
        return min(IDLE_SECONDS, MAINTENANCE_SECONDS)


def main() -> int:
    """Send webhooks until a signal stops the senders. Return the program's exit status."""
    try:
        settings = Settings.from_environ()
        url = redis_url(settings)
        if not settings.webhook_secret:
            raise SettingsError(
                "WEBHOOK_SECRET is not set. Set the secret with which every webhook is signed."
            )
    except SettingsError as error:
        return refuse_start(str(error))
    setup_logging(settings.log_format)
    redis = connect(url)
    wait_until_reachable(redis)
    # Several senders run, so that a receiver that does not answer does not delay other deliveries.
    pool = WorkerPool([QUEUE], redis, settings.webhook_workers, Sender, JSONSerializer, Delivery)
    pool.start(logging_level="WARNING")
    return 0


if __name__ == "__main__":
    sys.exit(main())
