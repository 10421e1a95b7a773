"""The objects that all HTTP endpoints share.

The shared objects are the settings, the queue, the jobs in flight and the request metrics.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec, TypeVar

from flask import current_app

from gateway.inflight import InFlight
from gateway.request_metrics import RequestMetrics
from shared.queue.gateway_client import GatewayQueue
from shared.queue.messages import Served
from shared.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

MAX_SERVED_AGE = 1.0
"""Maximum age of a gateway's data about the live workers, in seconds."""

MAX_THREADS = 16
"""Maximum number of threads in which a gateway process waits for Redis or runs Flask's views."""


@dataclass
class Resources:
    """The objects that all HTTP endpoints share."""

    settings: Settings
    queue: GatewayQueue
    inflight: InFlight
    draining: Callable[[], bool] = lambda: False
    """A function that returns whether this process is stopping. `gateway.gunicorn_conf` sets this
    function."""
    request_metrics: RequestMetrics = field(default_factory=RequestMetrics)
    _served: tuple[float, Served | None] = (float("-inf"), None)
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="view")
    )

    async def in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call that may wait in a thread, and return its result."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(call, *args, **kwargs))

    def served(self) -> Served | None:
        """Return the data about the live workers and their model, or None if no worker is alive.

        The data is at most `MAX_SERVED_AGE` seconds old. While one request reads new data from Redis, the
        other requests use the old data.
        """
        read_at, served = self._served
        if time.monotonic() - read_at > MAX_SERVED_AGE:
            if served is not None:
                self._served = (time.monotonic(), served)
            served = self.queue.fleet.served()
            self._served = (time.monotonic(), served)
        return served

    async def served_soon(self) -> Served | None:
        """Return `served()`. The event loop does not wait for Redis."""
        read_at, served = self._served
        is_fresh = time.monotonic() - read_at <= MAX_SERVED_AGE
        return served if is_fresh else await self.in_thread(self.served)


def resources() -> Resources:
    """Return the current Flask app's `Resources`."""
    found: Resources = current_app.extensions["classification"]
    return found
