"""The one place where a Redis connection is made."""

from copy import copy
from typing import Any

from redis import BlockingConnectionPool, Redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.connection import parse_url
from redis.exceptions import ConnectionError, ResponseError
from redis.retry import Retry
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from shared.redis_url import SentinelUrl, is_sentinel

BLOCK_SECONDS = 2.0
"""Longest time that a blocking command may ask the server to wait."""

SOCKET_TIMEOUT = 10.0
"""Seconds without a byte before a connection counts as dead. It must be longer than `BLOCK_SECONDS`:
a blocking read that times out is silently retried on a new connection, and what it popped is lost."""

SENTINEL_TIMEOUT = 1.0
"""Seconds after which the next Sentinel is asked."""


def connect(url: str, *, retries: int = 3, max_connections: int = 64) -> Redis:
    """Return a client for `url` (see `shared.redis_url`); nothing is sent before its first command.

    `max_connections` bounds the pool: about one for each thread that may be in a command at once.
    """
    options = {
        # More who ask at once wait for a connection, where redis-py's own pool would raise an error.
        "timeout": SOCKET_TIMEOUT,
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": 5.0,
        "health_check_interval": 30,
        "max_connections": max_connections,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.02), retries),
        "client_name": "classification-server",
    }
    if not url.startswith("unix:"):  # a unix socket's connection class takes none
        options["socket_keepalive"] = True
    if is_sentinel(url):
        return _master(SentinelUrl.parse(url), options)
    return Redis.from_pool(BlockingConnectionPool.from_url(url, **options))


def _master(address: SentinelUrl, options: dict[str, Any]) -> Redis:
    """A client whose connections ask the Sentinels, each time they are made, which server is the master."""
    server = parse_url(address.server)  # type: ignore[no-untyped-call]
    tls = {name: value for name, value in server.items() if name.startswith("ssl_")}
    is_tls = address.server.startswith("rediss:")
    login = {
        name: value for name, value in server.items() if name in ("db", "username", "password", "protocol")
    }
    to_sentinels = {
        "socket_timeout": SENTINEL_TIMEOUT,
        "socket_connect_timeout": SENTINEL_TIMEOUT,
        "max_connections": options["max_connections"],
        # The next one is asked instead.
        "retry": Retry(NoBackoff(), 0),
    }
    kwargs = {**to_sentinels, "ssl": is_tls, **tls, **address.login}
    sentinels: Any = _Sentinels(address.sentinels, sentinel_kwargs=kwargs)  # type: ignore[no-untyped-call]
    master: Redis = sentinels.master_for(
        address.service,
        connection_pool_class=_MasterPool,
        connection_class=_MasterTlsConnection if is_tls else _MasterConnection,
        **(options | login | tls),
    )
    return master


class _Sentinels(Sentinel):
    def discover_master(self, service_name: str) -> Any:
        # The one that answers is moved to the front, by an exchange of two places in a list. Two threads at
        # once could leave one Sentinel there twice and lose another, so each has a list of its own.
        asked = copy(self)
        asked.sentinels = [*self.sentinels]
        address = Sentinel.discover_master(asked, service_name)  # type: ignore[no-untyped-call]
        self.sentinels = asked.sentinels
        return address


class _MasterConnection(SentinelManagedConnection):
    def read_response(self, *arguments: Any, **options: Any) -> Any:
        # Redis-py's default is False here and True for one server. A read that a signal has ended would leave
        # its answer to the next command.
        options.setdefault("disconnect_on_error", True)
        try:
            return super().read_response(*arguments, **options)
        except ResponseError as error:
            if "NOREPLICAS" not in str(error):
                raise
            # The replica may be the master now: the Sentinels know it before they have told this server.
            self.disconnect()  # type: ignore[no-untyped-call]
            raise ConnectionError("the master has too few replicas to write") from None


class _MasterTlsConnection(_MasterConnection, SentinelManagedSSLConnection):
    pass


class _MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    def release(self, connection: Any) -> None:
        if (connection.host, connection.port) != self.master_address:
            connection.disconnect()  # it asks anew when it is used again
        super().release(connection)  # type: ignore[no-untyped-call]

    def owns_connection(self, connection: Any) -> int:
        # Redis-py's own answer is no for a connection that reached no master. It would be thrown away, but
        # stay in the blocking pool's list, which would grow with every request until there is a master.
        return BlockingConnectionPool.owns_connection(self, connection)
