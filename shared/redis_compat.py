"""Corrects faults in redis-py's client for Redis Sentinels.

This code was checked with redis-py 8.1.0. Section "Sentinels" of docs/decisions.md describes the fault that
each class corrects. tests/e2e/test_sentinel.py and tests/integration/test_connection.py test the corrections.
"""

from copy import copy
from typing import Any

from redis import BlockingConnectionPool, sentinel
from redis.exceptions import ConnectionError, ResponseError


class SafeSentinel(sentinel.Sentinel):
    """redis-py's client for Redis Sentinels, made safe for use by several threads."""

    def discover_master(self, service_name: str) -> Any:
        """Return the address of the current Redis master."""
        # Redis-py moves the Sentinel that answered to the front of its list. When two threads move a Sentinel
        # at once, the list can lose a Sentinel, so each thread changes its own copy of the list.
        own = copy(self)
        own.sentinels = [*self.sentinels]
        address = sentinel.Sentinel.discover_master(own, service_name)  # type: ignore[no-untyped-call]
        self.sentinels = own.sentinels
        return address


class MasterConnection(sentinel.SentinelManagedConnection):
    """A connection to the Redis master that is closed after an interrupted read or a failover."""

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Read a reply of the Redis master."""
        # Redis-py's default is False for Sentinels, but True for a single server. If it is False, a command
        # that follows an interrupted read receives the earlier command's reply. Webhook senders then needed
        # 16 s to stop.
        options.setdefault("disconnect_on_error", True)
        try:
            return super().read_response(*arguments, **options)
        except ResponseError as error:
            if "NOREPLICAS" not in str(error):
                raise
            # A replica may have become the new master, which the Sentinels know before the old master does.
            # Without this reconnection, Redis refused commands for 11 s of a failover; with it, only 3
            # commands.
            self.disconnect()  # type: ignore[no-untyped-call]
            raise ConnectionError("the Redis master has too few replicas to accept writes") from None


class MasterTlsConnection(MasterConnection, sentinel.SentinelManagedSSLConnection):
    """A `MasterConnection` that is encrypted with TLS."""


class MasterPool(sentinel.SentinelConnectionPool, BlockingConnectionPool):
    """A pool of connections to the Redis master. If all connections are in use, a caller waits for one."""

    def release(self, connection: Any) -> None:
        """Give a connection back to the pool."""
        if (connection.host, connection.port) != self.master_address:
            connection.disconnect()  # at its next use, the connection looks up the new master
        super().release(connection)  # type: ignore[no-untyped-call]

    def owns_connection(self, connection: Any) -> int:
        """Return whether the connection belongs to this pool."""
        # If a connection reached no master, redis-py's Sentinel pool answers False, but the blocking pool
        # keeps the connection in its list. Without a master, the list would grow with every request.
        return BlockingConnectionPool.owns_connection(self, connection)
