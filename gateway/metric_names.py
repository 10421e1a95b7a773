"""The names of all metrics that `GET /metrics` returns, with their texts; docs/metrics.md describes them."""

from typing import NamedTuple

from shared.worker_counts import Histogram


class MetricName(NamedTuple):
    """A metric's name and its text in `# HELP`. `prometheus_client` adds suffixes such as `_total`."""

    name: str
    text: str


BUILD = MetricName("classification_build", "This gateway's version.")
REDIS_UP = MetricName(
    "classification_redis_up", "1 if Redis sent this gateway the metrics below, 0 if they are missing."
)
WORKERS = MetricName("classification_workers", "Live workers with a warm model.")
BATCH_LIMIT = MetricName(
    "classification_batch_limit",
    "Maximum inputs in one run of the model; below INPUT_BATCH if a worker had too little memory.",
)
MODEL = MetricName(
    "classification_model", "A model that workers serve; there are several while the model is being changed."
)
JOBS_WAITING = MetricName("classification_jobs_waiting", "Jobs that wait for a worker.")
OLDEST_JOB_WAIT = MetricName(
    "classification_oldest_job_wait_seconds", "Time that the next job has waited, or 0."
)
JOBS_RUNNING = MetricName("classification_jobs_running", "Jobs that a worker has claimed and not ended.")
IMAGE_BYTES = MetricName("classification_image_bytes", "Bytes of the images of waiting and running jobs.")
JOBS_ENDED = MetricName("classification_jobs_ended", "Jobs ended; reason is the code of the failure.")
LATE_ATTEMPTS = MetricName(
    "classification_late_attempts", "Attempts whose result was discarded because the job's lease had ended."
)
HTTP_REQUESTS = MetricName("classification_http_requests", "Requests answered.")
HTTP_SECONDS = MetricName(
    "classification_http_request_duration_seconds", "Time from a request's arrival to its answer."
)


def of_histogram(histogram: Histogram) -> MetricName:
    """Return the name of a histogram that the workers fill."""
    return MetricName(f"classification_{histogram.name}", histogram.help)
