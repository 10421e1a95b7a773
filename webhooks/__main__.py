"""`python -m webhooks`: runs RQ workers on the webhooks queue until SIGTERM."""

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
"""Seconds between two searches for deliveries whose sender died or lost Redis (RQ's default: 600)."""

IDLE_SECONDS = 5
"""Maximum seconds that a sender waits for a new delivery (RQ's default: 405). RQ's maintenance, which
searches for lost deliveries, runs only between two such waits."""


class Delivery(SafeJob):
    """RQ's job that always runs `deliver`, so that access to Redis does not allow running other code."""

    @property
    def func(self) -> Callable[..., Any]:
        """Return `deliver`.

        Raises:
            Undeliverable: the job's record names another function.
        """
        if self.func_name != FUNCTION:
            raise Undeliverable(f"not a job of this service: it names the function {self.func_name!r}")
        return deliver

    def perform(self) -> Any:
        """Run the job. An undeliverable webhook is not retried."""
        try:
            return super().perform()
        except Undeliverable:
            self.retries_left = 0
            raise


class Sender(SimpleWorker):
    """RQ's worker with more frequent maintenance."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "maintenance_interval": MAINTENANCE_SECONDS})

    @property
    def dequeue_timeout(self) -> int:
        """Return the seconds that RQ's loop waits for a delivery before it checks for maintenance."""
        return min(IDLE_SECONDS, MAINTENANCE_SECONDS)


def main() -> int:
    """Send webhooks until a signal stops the senders. Returns the exit status."""
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
    # With several senders, a receiver that does not answer delays no other delivery.
    pool = WorkerPool([QUEUE], redis, settings.webhook_workers, Sender, JSONSerializer, Delivery)
    pool.start(logging_level="WARNING")
    return 0


if __name__ == "__main__":
    sys.exit(main())
