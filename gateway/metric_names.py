"""Names and help texts of all metrics that `GET /metrics` returns; docs/metrics.md describes the metrics."""

from typing import NamedTuple

from shared.worker_counts import Histogram


class MetricName(NamedTuple):
    """A metric's name and its `# HELP` text. `prometheus_client` adds suffixes such as `_total`."""

    name: str
    text: str


BUILD = MetricName("classification_build", "This gateway's version.")
REDIS_UP = MetricName(
    "classification_redis_up",
    "1 if this gateway could read the metrics of the queue from Redis, 0 if these metrics are missing.",
)
WORKERS = MetricName("classification_workers", "Live workers with a warm model.")
BATCH_LIMIT = MetricName(
    "classification_batch_limit",
    "Maximum number of inputs in one run of the model; below INPUT_BATCH if a worker had too little memory.",
)
MODEL = MetricName(
    "classification_model",
    "A model that workers run; there are several models while the model is being changed.",
)
JOBS_WAITING = MetricName("classification_jobs_waiting", "Jobs that wait for a worker.")
OLDEST_JOB_WAIT = MetricName(
    "classification_oldest_job_wait_seconds",
    "Time for which the next job of the queue has waited; 0 if no job waits.",
)
JOBS_RUNNING = MetricName("classification_jobs_running", "Jobs that workers have claimed and not ended.")
IMAGE_BYTES = MetricName(
    "classification_image_bytes", "Total size of the images of all waiting and running jobs, in bytes."
)
JOBS_ENDED = MetricName(
    "classification_jobs_ended", "Jobs that have ended; reason is the error code of failed jobs."
)
LATE_ATTEMPTS = MetricName(
    "classification_late_attempts", "Attempts whose result was discarded because the job's lease had ended."
)
HTTP_REQUESTS = MetricName("classification_http_requests", "Requests that the gateway answered.")
HTTP_SECONDS = MetricName(
    "classification_http_request_duration_seconds", "Time from a request's arrival to its answer."
)


def of_histogram(histogram: Histogram) -> MetricName:
    """Return the exported name and help text of a histogram that the workers fill."""
    return MetricName(f"classification_{histogram.name}", histogram.help)
