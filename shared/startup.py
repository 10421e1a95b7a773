"""The health check and the report of a start-up error, for all programs of the service."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from shared.settings import Settings, SettingsError, redis_url

if TYPE_CHECKING:
    from redis import Redis


def refuse_start(reason: str) -> int:
    """Print the reason why a process cannot start, and return exit status 2."""
    for line in reason.splitlines():
        print(f"classification-server: {line}", file=sys.stderr)
    return 2


def check_health(is_alive: "Callable[[Redis, Settings], bool]", otherwise: str) -> int:
    """Return exit status 0 if `is_alive` returns True. Otherwise, print a reason and return 1."""
    from redis.exceptions import RedisError  # imports ssl, which gunicorn's configuration must not import

    from shared.redis_connection import connect

    try:
        settings = Settings.from_environ()
        if is_alive(connect(redis_url(settings), retries=0), settings):
            return 0
    except (SettingsError, RedisError) as error:
        otherwise = str(error)
    print(otherwise, file=sys.stderr)
    return 1
