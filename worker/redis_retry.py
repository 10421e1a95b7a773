"""How long the worker goes on asking a Redis server that is away."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import RedisError

logger = logging.getLogger(__name__)
T = TypeVar("T")


class RedisRetry:
    """Repeats what Redis refuses, for as long as the worker lives; once stopping, for `grace` seconds."""

    def __init__(self, grace: float = 5.0, longest_pause: float = 2.0) -> None:
        self._grace, self._longest_pause = grace, longest_pause
        self._stopping = threading.Event()
        self._stopped_at = float("inf")

    def stop(self) -> None:
        """The worker is to end."""
        self._stopped_at = time.monotonic()
        self._stopping.set()

    def insist(self, ask: Callable[[], T]) -> T:
        """Return what `ask` returns, trying again while it raises a `RedisError`.

        Raises:
            RedisError: the worker is stopping, and the server is still away after the grace.
        """
        pause = 0.05
        while True:
            try:
                return ask()
            except RedisError as error:
                if time.monotonic() - self._stopped_at > self._grace:
                    raise
                logger.warning("Redis does not answer (%s); trying again in %.2f s", error, pause)
                time.sleep(pause)
                pause = min(pause * 2, self._longest_pause)
