"""Counts this gateway's HTTP requests: the metrics `classification_http_…`.

Each gunicorn process writes its counts to its own files in the folder PROMETHEUS_MULTIPROC_DIR, and
`prometheus_client` adds up the counts of all processes. The import of `prometheus_client` reads this
environment variable, after `gateway.gunicorn_conf` has set it.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from werkzeug.routing import Rule

from shared.metric_names import HTTP_REQUESTS, HTTP_SECONDS

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
"""HTTP methods that are counted by name. The rest counts as `other`, because callers may invent methods."""

NO_ROUTE = "(none)"
"""The label `route` of requests for unknown paths, because callers may invent paths."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""The duration histogram's bounds in seconds, up to the maximum of the parameter `wait`."""


class RequestMetrics:
    """Counts the answered requests and their durations."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route")
        self._answered = Counter(*HTTP_REQUESTS, (*labels, "status"), registry=self._registry)
        self._seconds = Histogram(*HTTP_SECONDS, labels, registry=self._registry, buckets=BUCKETS)

    def count(self, method: str, rule: Rule | None, status: int, seconds: float) -> None:
        """Count a request under its route's template (such as /jobs/<job_id>), never under its path."""
        method, route = method if method in METHODS else "other", rule.rule if rule else NO_ROUTE
        self._answered.labels(method, route, status).inc()
        self._seconds.labels(method, route).observe(seconds)

    def collector(self) -> Collector:
        """Return the counts of all gunicorn processes, or only of this process without that folder."""
        if os.path.isdir(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")):
            return MultiProcessCollector(None)  # type: ignore[no-untyped-call]
        return self._registry
