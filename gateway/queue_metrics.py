"""The Prometheus metrics of queues and workers.

The values are read from Redis, so every gateway returns the same values.
"""

from collections.abc import Iterator, Mapping
from math import inf
from typing import NamedTuple

from prometheus_client import core
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from shared import metric_names as names
from shared.job import FAILURES
from shared.queue import QUEUES
from shared.queue.messages import Served
from shared.version import version
from shared.worker_counts import JOBS, LATE, SUM, Count, QueueMetrics

MODEL_LABELS = ("fingerprint", "thresholds", "framework", "precision")
"""Labels of the metric `classification_model_info`. Each label is a field of the model's description."""

_OUTCOMES = {"": "finished", "canceled": "canceled", "expired": "expired"}
"""The metric label `outcome` of an ended job. Each key is a reason why a job ended. For any other reason,
the label is 'failed'."""


class QueueSnapshot(NamedTuple):
    """The metrics of the queues and the status of the live workers.

    A request for metrics reads these values from Redis.
    """

    metrics: QueueMetrics
    served: Served | None


class QueueMetricsCollector(Collector):
    """Converts a `QueueSnapshot` to Prometheus metrics. The snapshot is None if Redis did not answer."""

    def __init__(self, snapshot: QueueSnapshot | None) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics of queues and workers, in the order of docs/metrics.md."""
        yield core.InfoMetricFamily(*names.BUILD, value={"version": version()})
        yield core.GaugeMetricFamily(*names.REDIS_UP, value=int(self._snapshot is not None))
        if self._snapshot is not None:
            metrics, served = self._snapshot
            yield from _workers(served)
            yield from _queues(metrics)
            yield _jobs_ended(metrics)
            yield _late_attempts(metrics)
            yield from (_histogram(each, metrics) for each in names.HISTOGRAMS)


def _workers(served: Served | None) -> Iterator[Metric]:
    workers = served.workers if served else 0
    yield core.GaugeMetricFamily(*names.WORKERS, value=workers)
    if served is None:
        return
    devices = core.GaugeMetricFamily(*names.WORKER_DEVICES, labels=("kind", "device"))
    for kind, name, number in served.devices:
        devices.add_metric((kind, name), number)
    yield devices
    yield core.GaugeMetricFamily(*names.BATCH_LIMIT, value=served.batch)
    family = core.InfoMetricFamily(*names.MODEL, labels=())
    models = [[str(model.get(label, "")) for label in MODEL_LABELS] for model, _ in served.models]
    for values in dict.fromkeys(map(tuple, models)):
        family.add_metric((), dict(zip(MODEL_LABELS, values, strict=True)))
    yield family


def _queues(metrics: QueueMetrics) -> Iterator[Metric]:
    for name, values in (
        (names.JOBS_WAITING, metrics.waiting),
        (names.OLDEST_JOB_WAIT, metrics.oldest_wait),
        (names.JOBS_RUNNING, metrics.running),
    ):
        family = core.GaugeMetricFamily(*name, labels=("queue",))
        for queue in QUEUES:
            family.add_metric((queue,), values[queue])
        yield family
    yield core.GaugeMetricFamily(*names.IMAGE_BYTES, value=metrics.image_bytes)


def _jobs_ended(metrics: QueueMetrics) -> Metric:
    """Return the counts of ended jobs.

    Also return a count of 0 for each reason for which no job has ended yet. With a count of 0, Prometheus
    sees the first job that ends as an increase of the count.
    """
    family = core.CounterMetricFamily(*names.JOBS_ENDED, labels=("queue", "outcome", "reason"))
    ended = dict.fromkeys(((queue, reason) for queue in QUEUES for reason in ("", *FAILURES)), 0.0)
    ended |= {(each.label, each.rest): n for each, n in metrics.counts.items() if each.kind == JOBS}
    for (queue, reason), amount in ended.items():
        outcome = _OUTCOMES.get(reason, "failed")
        family.add_metric((queue, outcome, reason if outcome == "failed" else ""), amount)
    return family


def _late_attempts(metrics: QueueMetrics) -> Metric:
    family = core.CounterMetricFamily(*names.LATE_ATTEMPTS, labels=("queue",))
    for queue in QUEUES:
        family.add_metric((queue,), metrics.counts.get(Count(LATE, queue, ""), 0.0))
    return family


def _histogram(histogram: names.Histogram, metrics: QueueMetrics) -> Metric:
    labels = (histogram.label,) if histogram.label else ()
    family = core.HistogramMetricFamily(*histogram.exported, labels=labels)
    for value in QUEUES if histogram.label else ("",):
        counted = histogram_counts(metrics, histogram, value)
        total = counted.pop(SUM, 0.0)
        family.add_metric((value,) if histogram.label else (), _buckets(counted, histogram.bounds), total)
    return family


def histogram_counts(metrics: QueueMetrics, histogram: names.Histogram, label: str = "") -> dict[str, float]:
    """Return a histogram's counts by bucket.

    The entry `SUM` contains the sum of the histogram's values.
    """
    return {
        count.rest: amount
        for count, amount in metrics.counts.items()
        if (count.kind, count.label) == (histogram.name, label)
    }


def _buckets(counted: Mapping[str, float], bounds: tuple[float, ...]) -> list[tuple[str, float]]:
    """Return each bucket's upper bound and cumulative count.

    The buckets include those that only workers of another version have counted.
    """
    amounts = {float(bound): amount for bound, amount in counted.items()}
    buckets, below = [], 0.0
    for bound in sorted({*bounds, inf, *amounts}):
        below += amounts.get(bound, 0.0)
        buckets.append(("+Inf" if bound == inf else str(float(bound)), below))
    return buckets
