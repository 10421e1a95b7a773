"""The one place where a connection is made."""

from concurrent.futures import ThreadPoolExecutor

from shared.connection import connect
from tests.valkey import Valkey


def test_more_who_ask_at_once_than_connections_wait(valkey: Valkey) -> None:
    """Redis-py's own pool raises an error instead, which was a 503 to a hundredth of callers at full load."""
    with connect(valkey.url, max_connections=2) as client, ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda _: client.blpop(["nothing"], timeout=0.1), range(16))) == [None] * 16
        assert len(client.client_list()) <= 4
