from collections.abc import Iterator

import pytest
from redis import Redis

from shared.redis_connection import connect
from shared.settings import Settings
from tests.job_queue import JobQueue
from tests.valkey import Valkey


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    server = Valkey()
    yield server
    server.remove()


@pytest.fixture
def redis(valkey: Valkey) -> Redis:
    valkey.client.flushall()
    return connect(valkey.url)


@pytest.fixture
def settings() -> Settings:
    return Settings(job_lease=1.0, queue_size=8, input_batch=32, max_queue_bytes=10_000)


@pytest.fixture
def queue(redis: Redis, settings: Settings) -> JobQueue:
    return JobQueue(redis, settings)
