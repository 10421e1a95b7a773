"""What the views share, and how they reach it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import current_app

from gateway.job_submitter import Submitter
from gateway.reply_listener import ReplyListener
from shared.queue.gateway_client import GatewayQueue
from shared.queue.messages import Served
from shared.settings import Settings

SERVED_SECONDS = 1.0
"""How long an answer to "which workers are alive" is good for."""


@dataclass
class Resources:
    """What the views share: settings, the queue, and both ways between it and this process's requests."""

    settings: Settings
    queue: GatewayQueue
    submitter: Submitter
    listener: ReplyListener
    draining: Callable[[], bool] = lambda: False
    """Whether this process has been told to stop; `gateway.gunicorn_conf` knows."""
    _served: tuple[float, Served | None] = (float("-inf"), None)

    def served(self) -> Served | None:
        """What the live workers serve, or None; a second old at most."""
        asked, served = self._served
        if time.monotonic() - asked > SERVED_SECONDS:
            if served is not None:  # others go on with it while this request asks
                self._served = (time.monotonic(), served)
            served = self.queue.fleet.served()
            self._served = (time.monotonic(), served)
        return served


def resources() -> Resources:
    """The current app's resources."""
    found: Resources = current_app.extensions["classification"]
    return found
