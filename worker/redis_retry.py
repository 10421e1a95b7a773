"""Retries Redis commands with growing pauses while the Redis server is unreachable."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

logger = logging.getLogger(__name__)
T = TypeVar("T")


class RedisRetry:
    """Retries failed Redis commands while the worker runs, and for `grace` seconds after a stop signal."""

    def __init__(self, grace: float = 5.0, max_pause: float = 2.0) -> None:
        self._retry = Retry(ExponentialBackoff(max_pause, 0.025), -1, (RedisError,))
        self._grace, self._deadline = grace, float("inf")

    def start_grace_period(self) -> None:
        """Permit retries only for the next `grace` seconds.

        The worker calls this method when it must stop.
        """
        self._deadline = time.monotonic() + self._grace

    def call(self, command: Callable[[], T]) -> T:
        """Call `command` until it raises no `RedisError`; return the result.

        Raises:
            RedisError: the command still failed at the end of the grace period.
        """
        return self._retry.call_with_retry(command, _log, lambda _: time.monotonic() <= self._deadline)


def _log(error: Exception) -> None:
    logger.warning("Redis command failed: %s; the command is retried", error)
