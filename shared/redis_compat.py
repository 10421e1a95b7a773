"""Corrects faults in redis-py's client for Redis Sentinels, and avoids a copy of each large image.

This code was checked with redis-py 8.1.0. Section "Sentinels" of docs/decisions.md describes the faults. The
tests in tests/e2e/test_sentinel.py and tests/integration/test_connection.py check the corrections.
"""

from copy import copy
from typing import Any

from redis import BlockingConnectionPool, sentinel
from redis.connection import HiredisRespSerializer, PythonRespSerializer
from redis.exceptions import ConnectionError, ResponseError


def _encode(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


class CommandPacker(HiredisRespSerializer):
    """Packs commands for Redis. A large value of the command SET is sent without a copy.

    hiredis packs a command into a single bytes object. With this copy of photos of 4.6 MB, the gateway needed
    25 % more CPU time for each photo, and 75 MB more memory.
    """

    _in_pieces: Any = PythonRespSerializer(6000, _encode)

    def pack(self, *args: Any) -> list[bytes]:
        """Return the parts of a packed command. A value of more than 6,000 bytes is a separate part."""
        packed: list[bytes] = self._in_pieces.pack(*args) if args[0] == "SET" else super().pack(*args)
        return packed


class SafeSentinel(sentinel.Sentinel):
    """A thread-safe subclass of redis-py's client for Redis Sentinels."""

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
    """A connection to the Redis master. After an interrupted read or a failover, the connection is closed."""

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Read a reply of the Redis master."""
        # With Sentinels, redis-py sets `disconnect_on_error` to False. Then a command that follows an
        # interrupted read receives the earlier command's reply. Because of this fault, webhook senders needed
        # 16 s to stop.
        options.setdefault("disconnect_on_error", True)
        try:
            return super().read_response(*arguments, **options)
        except ResponseError as error:
            if "NOREPLICAS" not in str(error):
                raise
            # During a failover, the Sentinels know the new master earlier than the old master does. Without
            # this reconnection, Redis refused writes for 11 s. With the reconnection, only three commands
            # fail.
            self.disconnect()  # type: ignore[no-untyped-call]
            raise ConnectionError("the Redis master has too few replicas to accept writes") from None


class MasterTlsConnection(MasterConnection, sentinel.SentinelManagedSSLConnection):
    """A `MasterConnection` that is encrypted with TLS."""


class MasterPool(sentinel.SentinelConnectionPool, BlockingConnectionPool):
    """A pool of connections to the Redis master. If all connections are in use, a new command waits."""

    def release(self, connection: Any) -> None:
        """Give a connection back to the pool."""
        if (connection.host, connection.port) != self.master_address:
            connection.disconnect()  # at its next use, the connection looks up the new master
        super().release(connection)  # type: ignore[no-untyped-call]

    def owns_connection(self, connection: Any) -> int:
        """Return whether the connection belongs to this pool."""
        # For a connection that reached no master, redis-py's Sentinel pool returns False here, although the
        # blocking pool keeps the connection in its list. While no master is reachable, the list would grow
        # with every request.
        return BlockingConnectionPool.owns_connection(self, connection)
