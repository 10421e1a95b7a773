"""Counts this gateway's HTTP requests for the metrics `classification_http_…`.

Each gunicorn process writes its counts to its own files in the folder PROMETHEUS_MULTIPROC_DIR. The library
`prometheus_client` adds up the counts of all processes. The environment variable PROMETHEUS_MULTIPROC_DIR
must be set before `prometheus_client` is imported. The module `gateway.gunicorn_conf` sets this variable.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from shared.metric_names import HTTP_REQUESTS, HTTP_SECONDS

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
"""HTTP methods that the metrics count by name. All other methods are counted as `other`, so that callers
cannot create new metric labels."""

NO_ROUTE = "(none)"
"""The metric label `route` of all requests for unknown paths, so that callers cannot create new metric
labels."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Bucket bounds of the request duration histogram, in seconds. The last bound is the maximum of the
URL parameter `wait`."""


class RequestMetrics:
    """Counts the answered HTTP requests and measures their durations."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route")
        self._answered = Counter(*HTTP_REQUESTS, (*labels, "status"), registry=self._registry)
        self._seconds = Histogram(*HTTP_SECONDS, labels, registry=self._registry, buckets=BUCKETS)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request under its route's template (such as /jobs/<job_id>) instead of its path.

        The template of an unknown path is empty.
        """
        method, route = method if method in METHODS else "other", route or NO_ROUTE
        self._answered.labels(method, route, status).inc()
        self._seconds.labels(method, route).observe(seconds)

    def collector(self) -> Collector:
        """Return the counts of all gunicorn processes.

        If there is no metrics folder, return only the counts of this process.
        """
        if os.path.isdir(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")):
            return MultiProcessCollector(None)  # type: ignore[no-untyped-call]
        return self._registry
