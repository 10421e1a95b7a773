"""The figures of queue and workers as Prometheus' metrics; every gateway of a cluster tells the same ones."""

from collections.abc import Iterator, Mapping
from math import inf
from typing import NamedTuple

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from shared.job import FAILURES
from shared.metric_names import HISTOGRAMS, JOBS, LATE, SUM, Count, Histogram, QueueMetrics
from shared.queue import QUEUES
from shared.queue.messages import Served
from shared.version import version

MODEL_LABELS = ("fingerprint", "thresholds", "framework", "precision")
"""What `classification_model_info` has of the model's description."""

_OUTCOMES = {"": "finished", "canceled": "canceled", "expired": "expired"}
"""The outcome that an ended job's reason stands for; any other is the code of a failure."""


class Told(NamedTuple):
    """What Redis told of queue and workers."""

    figures: QueueMetrics
    served: Served | None


class Cluster(Collector):
    """Tells what Redis told; None where it did not answer."""

    def __init__(self, told: Told | None) -> None:
        self._told = told

    def collect(self) -> Iterator[Metric]:
        """The metrics, in the order of docs/metrics.md."""
        yield _info("classification_build", "This gateway's version.", {"version": version()})
        yield GaugeMetricFamily(
            "classification_redis_up",
            "1 if Redis told this gateway the figures below, 0 if they are missing.",
            value=int(self._told is not None),
        )
        if self._told is not None:
            yield from _of_workers(self._told.served)
            yield from _of_queues(self._told.figures)
            yield _jobs_ended(self._told.figures)
            yield _late(self._told.figures)
            yield from (_histogram(each, self._told.figures) for each in HISTOGRAMS)


def _of_workers(served: Served | None) -> Iterator[Metric]:
    workers = served.workers if served else 0
    yield GaugeMetricFamily("classification_workers", "Workers alive with a warm model.", value=workers)
    if served:
        text = "Most inputs in one run of the model; below INPUT_BATCH where a worker had not enough memory."
        yield GaugeMetricFamily("classification_batch_limit", text, value=served.batch)
        yield _models(served)


def _models(served: Served) -> Metric:
    family = InfoMetricFamily(
        "classification_model", "A model that workers serve; several while it is changed.", labels=()
    )
    for told in {tuple(str(model.get(label, "")) for label in MODEL_LABELS) for model, _ in served.models}:
        family.add_metric((), dict(zip(MODEL_LABELS, told, strict=True)))
    return family


def _of_queues(figures: QueueMetrics) -> Iterator[Metric]:
    for name, text, values in (
        ("jobs_waiting", "Jobs that wait for a worker.", figures.waiting),
        (
            "oldest_job_wait_seconds",
            "How long the next job has waited, or 0.",
            figures.oldest_wait,
        ),
        ("jobs_running", "Jobs that a worker has taken and not ended yet.", figures.running),
    ):
        family = GaugeMetricFamily(f"classification_{name}", text, labels=("queue",))
        for queue in QUEUES:
            family.add_metric((queue,), values[queue])
        yield family
    text = "Bytes of the images of jobs that wait or run."
    yield GaugeMetricFamily("classification_image_bytes", text, value=figures.image_bytes)


def _jobs_ended(figures: QueueMetrics) -> Metric:
    """Those that did not happen yet are told as 0, so that the first one is seen as an increase."""
    text = "Jobs ended; reason is the code of what failed."
    family = CounterMetricFamily("classification_jobs_ended", text, labels=("queue", "outcome", "reason"))
    ended = dict.fromkeys(((queue, reason) for queue in QUEUES for reason in ("", *FAILURES)), 0.0)
    ended |= {(each.label, each.rest): n for each, n in figures.counts.items() if each.kind == JOBS}
    for (queue, reason), amount in ended.items():
        outcome = _OUTCOMES.get(reason, "failed")
        family.add_metric((queue, outcome, reason if outcome == "failed" else ""), amount)
    return family


def _late(figures: QueueMetrics) -> Metric:
    text = "Attempts whose result was dropped, as the job's lease had gone."
    family = CounterMetricFamily("classification_late_attempts", text, labels=("queue",))
    for queue in QUEUES:
        family.add_metric((queue,), figures.counts.get(Count(LATE, queue, ""), 0.0))
    return family


def _histogram(what: Histogram, figures: QueueMetrics) -> Metric:
    labels = (what.label,) if what.label else ()
    family = HistogramMetricFamily(f"classification_{what.name}", what.help, labels=labels)
    for value in QUEUES if what.label else ("",):
        counted = {
            each.rest: amount
            for each, amount in figures.counts.items()
            if (each.kind, each.label) == (what.name, value)
        }
        total = counted.pop(SUM, 0.0)
        family.add_metric((value,) if what.label else (), _buckets(counted, what.bounds), total)
    return family


def _buckets(counted: Mapping[str, float], bounds: tuple[float, ...]) -> list[tuple[str, float]]:
    """Each bound with how many values do not pass it; those of another version's workers are kept."""
    amounts = {float(bound): amount for bound, amount in counted.items()}
    buckets, below = [], 0.0
    for bound in sorted({*bounds, inf, *amounts}):
        below += amounts.get(bound, 0.0)
        buckets.append((str(floatToGoString(bound)), below))  # type: ignore[no-untyped-call]
    return buckets


def _info(name: str, text: str, labels: Mapping[str, str]) -> Metric:
    return InfoMetricFamily(name, text, value=dict(labels))
