"""A client of the queue for tests that act as the gateway and the worker."""

from redis import Redis

from shared.queue.gateway_client import GatewayQueue
from shared.queue.worker_client import WorkerQueue
from shared.settings import Settings


class JobQueue(GatewayQueue, WorkerQueue):
    """Has the methods of the gateway's and of the worker's client."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        WorkerQueue.__init__(self, redis, settings)
        GatewayQueue.__init__(self, redis, settings)
