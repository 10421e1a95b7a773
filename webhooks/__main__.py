"""`python -m webhooks`: RQ workers on the queue of webhooks, until SIGTERM."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker_pool import WorkerPool

from shared.logs import setup_logging
from shared.redis_connection import connect
from shared.settings import Settings, SettingsError, redis_url
from shared.webhook import FUNCTION, QUEUE
from webhooks.deliver import Undeliverable, deliver

logger = logging.getLogger(__name__)

MAINTENANCE_SECONDS = 20
"""How often the deliveries of a sender that was killed, or lost Redis, are looked for; by RQ, ten minutes."""

IDLE_SECONDS = 5
"""Longest wait for a delivery. RQ's own is 405 s, and it looks for others' between two waits only."""


class Delivery(Job):
    """RQ's job, which runs our function alone: who can write to Redis can't choose the code that is run."""

    @property
    def func(self) -> Callable[..., Any]:
        """Our function, or an error where the record names another."""
        if self.func_name != FUNCTION:
            raise Undeliverable(f"not a job of this service: it names the function {self.func_name!r}")
        return deliver

    def restore(self, raw_data: Any) -> None:
        """Read RQ's record, without the names of other functions that it may hold."""
        super().restore(raw_data)
        self._success_callback_name = self._failure_callback_name = self._stopped_callback_name = None
        self.webhooks = []

    def perform(self) -> Any:
        """Run the job; where no further try would help, there is none."""
        try:
            return super().perform()
        except Undeliverable:
            self.retries_left = 0
            raise


class Sender(SimpleWorker):
    """RQ's worker, which looks more often after the deliveries of one that was killed."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "maintenance_interval": MAINTENANCE_SECONDS})

    @property
    def dequeue_timeout(self) -> int:
        """Seconds that RQ's loop waits for a delivery before it looks around."""
        return min(IDLE_SECONDS, MAINTENANCE_SECONDS)


def main() -> int:
    """Send until told to stop; return the exit status."""
    try:
        settings = Settings.from_environ()
        url = redis_url(settings)
        if not settings.webhook_secret:
            raise SettingsError("WEBHOOK_SECRET is not set: without it no webhook is sent")
    except SettingsError as error:
        for line in str(error).splitlines():
            print(f"classification-server: {line}", file=sys.stderr)
        return 2
    setup_logging(settings.log_format)
    redis = connect(url)
    _wait_for(redis)
    # Several at once, so that one server that does not answer holds up no other.
    pool = WorkerPool(
        [QUEUE],
        redis,
        num_workers=settings.webhook_workers,
        worker_class=Sender,
        job_class=Delivery,
        serializer=JSONSerializer,
    )
    pool.start(logging_level="WARNING")
    return 0


def _wait_for(redis: "Redis") -> None:
    while True:
        try:
            redis.ping()
            return
        except RedisError as error:
            logger.warning("Redis does not answer yet: %s", error)
            time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
