"""A Redis server whose place Redis Sentinel knows: `redis+sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/SERVICE[/DB]`."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from redis import BlockingConnectionPool, Redis, Sentinel, SSLConnection
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

PORT = 26379
SECONDS = 1.0
"""Longest wait for one Sentinel, before the next is asked."""


class _Pool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the master; who asks for one more than there may be waits for it."""


def master(url: str, **options: Any) -> Redis:
    """Return a client for whatever server is the master; each new connection asks the Sentinels anew.

    User, password and TLS (`rediss+sentinel://`) are for the server. The Sentinels get the same TLS, and the
    password that `?sentinel_password=` names.
    """
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    service, _, db = parts.path.strip("/").partition("/")
    # What redis-py reads out of its own form of address counts here too.
    scheme = parts.scheme.removesuffix("+sentinel")
    given = dict(parse_url(urlunsplit((scheme, f"{login}@any", f"/{db}", parts.query, ""))))  # type: ignore[no-untyped-call]
    given.pop("host", None)
    password = given.pop("sentinel_password", None)
    given["ssl"] = given.pop("connection_class", None) is SSLConnection
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        [_address(host) for host in hosts.split(",")],
        sentinel_kwargs=_tls(given)
        | {
            "password": password,
            "socket_timeout": SECONDS,
            "socket_connect_timeout": SECONDS,
            "retry": Retry(NoBackoff(), 0),
        },
    )
    client: Redis = sentinels.master_for(service, connection_pool_class=_Pool, **options, **given)  # type: ignore[no-untyped-call]
    return client


def _tls(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name.startswith("ssl")}


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "", parts.port or PORT
