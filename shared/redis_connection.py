"""Opens the connections to Redis for all processes of the service."""

import logging
import time
from typing import Any

from redis import BlockingConnectionPool, Redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.connection import parse_url
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.redis_compat import CommandPacker, MasterConnection, MasterPool, MasterTlsConnection, SafeSentinel
from shared.redis_url import SentinelUrl, is_sentinel

logger = logging.getLogger(__name__)

BLOCK_SECONDS = 2.0
"""Maximum time for which a blocking Redis command waits for data, in seconds."""

SOCKET_TIMEOUT = 10.0
"""Number of seconds after which a connection without a received byte counts as dead.

The number must exceed `BLOCK_SECONDS`. Otherwise a blocking read could time out, and redis-py would silently
repeat the read. The list entry that the first read removed would then be lost."""

CONNECT_TIMEOUT = 5.0
"""Maximum time to open a connection, in seconds."""

SENTINEL_TIMEOUT = 1.0
"""Maximum time to wait for one Sentinel before the client tries the next Sentinel, in seconds."""


PACKER = CommandPacker()


def connect(url: str, *, retries: int = 3, max_connections: int = 64) -> Redis:
    """Return a Redis client for `url` (see `shared.redis_url`). The first command opens a connection.

    `max_connections` is the maximum size of the connection pool. Each running command uses one connection.
    """
    options = {
        # If all connections are in use, a thread waits up to `timeout` seconds for a connection. With
        # redis-py's default pool, the thread would get an error at once.
        "timeout": SOCKET_TIMEOUT,
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "health_check_interval": 30,
        "max_connections": max_connections,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.02), retries),
        "client_name": "classification-server",
        "command_packer": PACKER,
    }
    if not url.startswith("unix:"):  # redis-py has no keepalive option for Unix sockets
        options["socket_keepalive"] = True
    if is_sentinel(url):
        return _master(SentinelUrl.parse(url), options)
    return Redis.from_pool(BlockingConnectionPool.from_url(url, **options))


def wait_until_reachable(redis: "Redis") -> None:
    """Wait until the Redis server answers."""
    while True:
        try:
            redis.ping()
            return
        except RedisError as error:
            logger.warning("Redis unreachable: %s", error)
            time.sleep(1)


def _master(address: SentinelUrl, options: dict[str, Any]) -> Redis:
    """Return a Redis client that finds the address of the current master through the Sentinels."""
    server = parse_url(address.server)  # type: ignore[no-untyped-call]
    tls = {name: value for name, value in server.items() if name.startswith("ssl_")}
    is_tls = address.server.startswith("rediss:")
    login = {name: server[name] for name in ("db", "username", "password", "protocol") if name in server}
    to_sentinels = {
        "socket_timeout": SENTINEL_TIMEOUT,
        "socket_connect_timeout": SENTINEL_TIMEOUT,
        "max_connections": options["max_connections"],
        "retry": Retry(NoBackoff(), 0),  # do not retry one Sentinel: the client tries the next Sentinel
        "ssl": is_tls,
    }
    kwargs = to_sentinels | tls | address.login
    sentinels: Any = SafeSentinel(address.sentinels, sentinel_kwargs=kwargs)  # type: ignore[no-untyped-call]
    master: Redis = sentinels.master_for(
        address.service,
        connection_pool_class=MasterPool,
        connection_class=MasterTlsConnection if is_tls else MasterConnection,
        **(options | login | tls),
    )
    return master
