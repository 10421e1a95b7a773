"""Names and counts the metrics of this gateway's HTTP requests: `classification_http_…`.

Each gunicorn process writes its counts to its own files in the folder PROMETHEUS_MULTIPROC_DIR, and
`prometheus_client` sums them. It reads the variable at its import, after `gateway.gunicorn_conf` has set it.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from werkzeug.routing import Rule

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
"""The methods that are counted by name. All others count as `other`, because callers may invent methods."""

NO_ROUTE = "(none)"
"""The route of requests for unknown paths. Callers may invent paths too."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""The histogram's bounds in seconds, up to the maximum wait that a caller may request."""


class RequestMetrics:
    """Counts the answered requests and their durations."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        name, text = "classification_http_requests", "Requests answered."
        self._answered = Counter(name, text, ("method", "route", "status"), registry=self._registry)
        name = "classification_http_request_duration_seconds"
        text = "Time from a request's arrival to its answer."
        self._seconds = Histogram(name, text, ("method", "route"), registry=self._registry, buckets=BUCKETS)

    def count(self, method: str, rule: Rule | None, status: int, seconds: float) -> None:
        """Count a request under its route's template, never under its path."""
        method, route = method if method in METHODS else "other", rule.rule if rule else NO_ROUTE
        self._answered.labels(method, route, status).inc()
        self._seconds.labels(method, route).observe(seconds)

    def collector(self) -> Collector:
        """Return the counts of all gunicorn processes, or of this process if their folder is gone."""
        if os.path.isdir(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")):
            return MultiProcessCollector(None)  # type: ignore[no-untyped-call]
        return self._registry
