"""Both sides of the queue in one object, for tests that play gateway and worker."""

from redis import Redis

from shared.queue.gateway_client import GatewayQueue
from shared.queue.worker_client import WorkerQueue
from shared.settings import Settings


class JobQueue(GatewayQueue, WorkerQueue):
    """A gateway's and a worker's client of one server."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        WorkerQueue.__init__(self, redis, settings)
        GatewayQueue.__init__(self, redis, settings)
