"""The one place where a Redis connection is made."""

from typing import Any

from redis import BlockingConnectionPool, Redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from shared import sentinel

BLOCK_SECONDS = 2.0
"""Longest time that a blocking command may ask the server to wait."""

SOCKET_TIMEOUT = 10.0
"""Seconds without a byte before a connection counts as dead. It must be longer than `BLOCK_SECONDS`:
a blocking read that times out is silently retried on a new connection, and what it popped is lost."""


def connect(url: str, *, retries: int = 3, max_connections: int = 64) -> Redis:
    """Return a client for `url` (redis://, rediss://, unix:// or redis+sentinel://).

    Nothing is sent before its first command.

    `max_connections` bounds the pool: about one for each thread that may be in a command at once.
    """
    # A unix socket's connection class takes no keep-alive.
    keepalive = {} if url.startswith("unix:") else {"socket_keepalive": True}
    options: dict[str, Any] = keepalive | {
        "timeout": SOCKET_TIMEOUT,
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": 5.0,
        "health_check_interval": 30,
        "max_connections": max_connections,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.02), retries),
        "client_name": "classification-server",
    }
    if "+sentinel:" in url:
        return sentinel.master(url, **options)
    # More who ask at once wait for a connection, where redis-py's own pool would raise an error.
    return Redis.from_pool(BlockingConnectionPool.from_url(url, **options))
