"""The one place where a connection is made."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis.connection import HiredisRespSerializer, SSLConnection

from shared.redis_connection import PACKER, SOCKET_TIMEOUT, connect
from tests.valkey import Valkey


def test_more_who_ask_at_once_than_connections_wait(valkey: Valkey) -> None:
    """Redis-py's own pool raises an error instead, which was a 503 to a hundredth of callers at full load."""
    before = len(valkey.client.client_list())
    with connect(valkey.url, max_connections=2) as client, ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda _: client.blpop(["nothing"], timeout=0.1), range(16))) == [None] * 16
        assert len(valkey.client.client_list()) - before <= 2


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_a_large_image_is_sent_without_a_copy(size: int, valkey: Valkey) -> None:
    image = bytes(range(256)) * (size // 256) + bytes(size % 256)
    command = ("SET", "image:ñ", image, "EX", 60)
    parts = PACKER.pack(*command)
    assert b"".join(parts) == b"".join(HiredisRespSerializer().pack(*command))
    assert any(part is image for part in parts) == (size > 6000)
    with connect(valkey.url) as client:
        assert client.pipeline(transaction=False).set("image:ñ", image, ex=60).get("image:ñ").execute() == [
            True,
            image,
        ]


def test_behind_sentinels_a_connection_has_the_same_options_and_tls_for_both() -> None:
    url = "rediss+sentinel://user:a%2Fb@one:1,[::1]/queue/3?ssl_ca_certs=/ca.pem&sentinel_password=c%2Fd"
    pool: Any = connect(url, retries=7, max_connections=5).connection_pool
    options = pool.connection_kwargs
    plain = connect("rediss://user:a%2Fb@one:1/3?ssl_ca_certs=/ca.pem", retries=7).connection_pool
    apart = ("host", "port", "maint_", "orig_", "himport", "event_")  # of the pool itself
    same = {name: each for name, each in plain.connection_kwargs.items() if not name.startswith(apart)}
    assert len(same) >= 10
    assert {name: options[name] for name in same} == same
    assert (pool.max_connections, pool.timeout) == (5, SOCKET_TIMEOUT)
    assert issubclass(pool.connection_class, SSLConnection)
    clients = [each.connection_pool for each in pool.sentinel_manager.sentinels]
    assert all(issubclass(each.connection_class, SSLConnection) for each in clients)
    found = [
        [each.connection_kwargs[name] for name in ("host", "port", "password", "ssl_ca_certs")]
        for each in clients
    ]
    assert found == [["one", 1, "c/d", "/ca.pem"], ["::1", 26379, "c/d", "/ca.pem"]]
    assert not {"a/b", "c/d"} & set(repr([pool, clients]).split("'"))
