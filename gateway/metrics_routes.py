"""The endpoint GET /metrics: Prometheus metrics of requests, queues and workers (docs/metrics.md)."""

import logging
import threading

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from redis.exceptions import RedisError

from gateway.queue_metrics import QueueMetricsCollector, QueueSnapshot
from gateway.resources import Resources, resources
from gateway.route_policy import route

bp = Blueprint("metrics", __name__)
logger = logging.getLogger(__name__)

MAX_REDIS_SECONDS = 3.0
"""Maximum time to wait for the metrics in Redis, in seconds. Prometheus would abort its request after 10
s, and would then get no metrics."""


@route(bp, "/metrics", quiet=True)
def metrics() -> Response:
    """Return the metrics in the caller's preferred format.

    If Redis does not answer, omit the queue metrics.
    """
    registry = CollectorRegistry()
    registry.register(resources().request_metrics.collector())
    registry.register(QueueMetricsCollector(_queue_snapshot(resources())))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=content_type)


def _queue_snapshot(shared: Resources) -> QueueSnapshot | None:
    """Return the metrics stored in Redis, or None if Redis does not answer within `MAX_REDIS_SECONDS`."""
    snapshots: list[QueueSnapshot] = []

    def read() -> None:
        try:
            snapshots.append(QueueSnapshot(shared.queue.metrics(), shared.served()))
        except RedisError as error:
            logger.warning("no queue metrics read from Redis: %s", error)

    # If Redis hangs, the Redis client's timeouts end this thread.
    thread = threading.Thread(target=read, name="queue-metrics", daemon=True)
    thread.start()
    thread.join(MAX_REDIS_SECONDS)
    return snapshots[0] if snapshots else None
