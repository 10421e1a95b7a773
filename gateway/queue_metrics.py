"""Names the metrics of queues and workers for Prometheus. Every gateway returns the same values."""

from collections.abc import Iterator, Mapping
from math import inf
from typing import NamedTuple

from prometheus_client import core
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from shared.job import FAILURES
from shared.metric_names import HISTOGRAMS, JOBS, LATE, SUM, Count, Histogram, QueueMetrics
from shared.queue import QUEUES
from shared.queue.messages import Served
from shared.version import version

MODEL_LABELS = ("fingerprint", "thresholds", "framework", "precision")
"""The fields of the model's description that are labels of `classification_model_info`."""

_OUTCOMES = {"": "finished", "canceled": "canceled", "expired": "expired"}
"""The outcome by an ended job's reason. Every other reason is the code of a failure."""


class QueueSnapshot(NamedTuple):
    """The metrics of the queues and what the live workers serve, read from Redis together."""

    metrics: QueueMetrics
    served: Served | None


class QueueMetricsCollector(Collector):
    """Collects the metrics of a snapshot. The snapshot is None if Redis did not answer."""

    def __init__(self, snapshot: QueueSnapshot | None) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics in the order of docs/metrics.md."""
        text = "This gateway's version."
        yield core.InfoMetricFamily("classification_build", text, value={"version": version()})
        text = "1 if Redis sent this gateway the metrics below, 0 if they are missing."
        is_up = int(self._snapshot is not None)
        yield core.GaugeMetricFamily("classification_redis_up", text, value=is_up)
        if self._snapshot is not None:
            metrics, served = self._snapshot
            yield from _workers(served)
            yield from _queues(metrics)
            yield _jobs_ended(metrics)
            yield _late_attempts(metrics)
            yield from (_histogram(each, metrics) for each in HISTOGRAMS)


def _workers(served: Served | None) -> Iterator[Metric]:
    workers = served.workers if served else 0
    yield core.GaugeMetricFamily("classification_workers", "Live workers with a warm model.", value=workers)
    if served is None:
        return
    text = "Maximum inputs in one run of the model; below INPUT_BATCH if a worker had too little memory."
    yield core.GaugeMetricFamily("classification_batch_limit", text, value=served.batch)
    text = "A model that workers serve; there are several while the model is being changed."
    family = core.InfoMetricFamily("classification_model", text, labels=())
    models = [[str(model.get(label, "")) for label in MODEL_LABELS] for model, _ in served.models]
    for values in dict.fromkeys(map(tuple, models)):
        family.add_metric((), dict(zip(MODEL_LABELS, values, strict=True)))
    yield family


def _queues(metrics: QueueMetrics) -> Iterator[Metric]:
    for name, text, values in (
        ("jobs_waiting", "Jobs that wait for a worker.", metrics.waiting),
        ("oldest_job_wait_seconds", "Time that the next job has waited, or 0.", metrics.oldest_wait),
        ("jobs_running", "Jobs that a worker has claimed and not ended.", metrics.running),
    ):
        family = core.GaugeMetricFamily(f"classification_{name}", text, labels=("queue",))
        for queue in QUEUES:
            family.add_metric((queue,), values[queue])
        yield family
    text = "Bytes of the images of waiting and running jobs."
    yield core.GaugeMetricFamily("classification_image_bytes", text, value=metrics.image_bytes)


def _jobs_ended(metrics: QueueMetrics) -> Metric:
    """Return the ended jobs. Reasons without a job are 0, so that the first job is seen as an increase."""
    text, labels = "Jobs ended; reason is the code of the failure.", ("queue", "outcome", "reason")
    family = core.CounterMetricFamily("classification_jobs_ended", text, labels=labels)
    ended = dict.fromkeys(((queue, reason) for queue in QUEUES for reason in ("", *FAILURES)), 0.0)
    ended |= {(each.label, each.rest): n for each, n in metrics.counts.items() if each.kind == JOBS}
    for (queue, reason), amount in ended.items():
        outcome = _OUTCOMES.get(reason, "failed")
        family.add_metric((queue, outcome, reason if outcome == "failed" else ""), amount)
    return family


def _late_attempts(metrics: QueueMetrics) -> Metric:
    text = "Attempts whose result was discarded because the job's lease had ended."
    family = core.CounterMetricFamily("classification_late_attempts", text, labels=("queue",))
    for queue in QUEUES:
        family.add_metric((queue,), metrics.counts.get(Count(LATE, queue, ""), 0.0))
    return family


def _histogram(histogram: Histogram, metrics: QueueMetrics) -> Metric:
    labels = (histogram.label,) if histogram.label else ()
    family = core.HistogramMetricFamily(f"classification_{histogram.name}", histogram.help, labels=labels)
    for value in QUEUES if histogram.label else ("",):
        counted = histogram_counts(metrics, histogram, value)
        total = counted.pop(SUM, 0.0)
        family.add_metric((value,) if histogram.label else (), _buckets(counted, histogram.bounds), total)
    return family


def histogram_counts(metrics: QueueMetrics, histogram: Histogram, label: str = "") -> dict[str, float]:
    """Return a histogram's counts by bucket, with the sum of its values under `SUM`."""
    return {
        count.rest: amount
        for count, amount in metrics.counts.items()
        if (count.kind, count.label) == (histogram.name, label)
    }


def _buckets(counted: Mapping[str, float], bounds: tuple[float, ...]) -> list[tuple[str, float]]:
    """Return each bound with its cumulative count. Bounds of workers of another version are kept."""
    amounts = {float(bound): amount for bound, amount in counted.items()}
    buckets, below = [], 0.0
    for bound in sorted({*bounds, inf, *amounts}):
        below += amounts.get(bound, 0.0)
        buckets.append(("+Inf" if bound == inf else str(float(bound)), below))
    return buckets
