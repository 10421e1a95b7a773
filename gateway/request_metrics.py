"""GET /metrics, in Prometheus' form: this gateway's requests, and what Redis tells of queue and workers.

With several gunicorn processes any of them answers for all: each writes its counts to files of its own in the
folder that PROMETHEUS_MULTIPROC_DIR names, and `prometheus_client` adds them up. It looks for the variable
when it is imported; `gateway.gunicorn_conf` sets it before that. docs/metrics.md has all metrics.
"""

import logging
import os
import threading

from flask import Blueprint, Flask, Response, current_app, request
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from redis.exceptions import RedisError
from werkzeug.routing import Rule

from gateway.queue_metrics import Cluster, Told
from gateway.resources import Resources, resources

bp = Blueprint("metrics", __name__)
logger = logging.getLogger(__name__)

REDIS_SECONDS = 3.0
"""Longest wait for Redis. Prometheus gives a scrape up after 10 s, and then has no figures at all."""

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
"""The methods told by name; callers may invent others."""

NO_ROUTE = "(none)"
"""The route of requests for what is not served; their paths are the callers' inventions too."""

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""The histogram's buckets, up to the longest wait that a caller may ask for."""


@bp.get("/metrics")
def metrics() -> Response:
    """All figures, in the version of the form that the caller prefers; also while Redis is away."""
    registry = CollectorRegistry()
    registry.register(_requests().collector())
    registry.register(Cluster(_ask(resources())))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=content_type)


def register_metrics(app: Flask) -> None:
    """Serve the figures, among them those of the requests that `app` reports with `count_request`."""
    app.extensions["classification-requests"] = Requests()
    app.register_blueprint(bp)


def count_request(method: str, rule: Rule | None, status: int, seconds: float) -> None:
    """Count a request that was answered with `status` after `seconds`."""
    _requests().count(method, rule, status, seconds)


def _requests() -> "Requests":
    found: Requests = current_app.extensions["classification-requests"]
    return found


class Requests:
    """Counts the requests that were answered."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._answered = Counter(
            "classification_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "classification_http_request_duration_seconds",
            "Time from a request's arrival to its answer.",
            ("method", "route"),
            registry=self._registry,
            buckets=BOUNDS,
        )
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, method: str, rule: Rule | None, status: int, seconds: float) -> None:
        """Count a request under its route's template, never its path."""
        key = (method if method in METHODS else "other", rule.rule if rule else NO_ROUTE, status)
        children = self._children.get(key)  # `labels` takes longer than all the rest
        if children is None:
            children = self._answered.labels(*key), self._seconds.labels(*key[:2])
            self._children[key] = children
        children[0].inc()
        children[1].observe(seconds)

    def collector(self) -> Collector:
        """What tells the counts: those of all gunicorn processes, unless their folder was removed."""
        if os.path.isdir(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")):
            return MultiProcessCollector(None)  # type: ignore[no-untyped-call]
        return self._registry


def _ask(shared: Resources) -> Told | None:
    """What Redis tells, or None where it does not within `REDIS_SECONDS`."""
    told: list[Told] = []

    def ask() -> None:
        try:
            told.append(Told(shared.queue.metrics(), shared.served()))
        except RedisError as error:
            logger.warning("no figures from Redis: %s", error)

    # Left behind where Redis hangs; the client's own timeouts end it. Under gevent it is a greenlet.
    thread = threading.Thread(target=ask, name="figures", daemon=True)
    thread.start()
    thread.join(REDIS_SECONDS)
    return told[0] if told else None
