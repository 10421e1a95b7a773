"""Corrects faults of redis-py's Sentinel client.

Checked with redis 8.1.0. Each class corrects a fault that a trial or a test has shown: see "Sentinels" in
docs/decisions.md. tests/e2e/test_sentinel.py and tests/integration/test_connection.py guard the corrections.
"""

from copy import copy
from typing import Any

from redis import BlockingConnectionPool, sentinel
from redis.exceptions import ConnectionError, ResponseError


class SafeSentinel(sentinel.Sentinel):
    """A client of the Redis Sentinels that several threads may share."""

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
    """A connection to the master that is safe to use after an interrupted read or a failover."""

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Read a reply of the Redis master."""
        # Redis-py's default is False for Sentinels, but True for a single server. With False, when a signal
        # interrupted a read, the next command received the interrupted command's reply, so webhook senders
        # took 16 s to stop.
        options.setdefault("disconnect_on_error", True)
        try:
            return super().read_response(*arguments, **options)
        except ResponseError as error:
            if "NOREPLICAS" not in str(error):
                raise
            # A replica may be the new master. The Sentinels know the new master before the old master does.
            # With a reconnection, a failover costs 3 refused commands instead of 11 s of refused commands.
            self.disconnect()  # type: ignore[no-untyped-call]
            raise ConnectionError("the master has too few replicas to write") from None


class MasterTlsConnection(MasterConnection, sentinel.SentinelManagedSSLConnection):
    """A `MasterConnection` with TLS."""


class MasterPool(sentinel.SentinelConnectionPool, BlockingConnectionPool):
    """A pool of connections to the master that blocks while every connection is in use."""

    def release(self, connection: Any) -> None:
        """Return a connection to the pool."""
        if (connection.host, connection.port) != self.master_address:
            connection.disconnect()  # the connection's next use looks up the new master
        super().release(connection)  # type: ignore[no-untyped-call]

    def owns_connection(self, connection: Any) -> int:
        """Return whether the connection belongs to this pool."""
        # Redis-py's Sentinel pool disowns a connection that reached no master, but the blocking pool does not
        # remove the connection from its list. The list would grow with every request until there is a master.
        return BlockingConnectionPool.owns_connection(self, connection)
