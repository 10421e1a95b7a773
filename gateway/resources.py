"""The objects that all HTTP endpoints share.

The shared objects are the settings, the queue, the jobs in flight and the request metrics.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flask import current_app

from gateway.inflight import InFlight
from gateway.request_metrics import RequestMetrics
from shared.queue.gateway_client import GatewayQueue
from shared.queue.messages import Served
from shared.settings import Settings

MAX_SERVED_AGE = 1.0
"""Maximum age of a gateway's data about the live workers, in seconds."""


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


def resources() -> Resources:
    """Return the current Flask app's `Resources`."""
    found: Resources = current_app.extensions["classification"]
    return found
