"""The names and help texts of all metrics that `GET /metrics` returns (see docs/metrics.md)."""

from typing import NamedTuple


class MetricName(NamedTuple):
    """A metric's name and its `# HELP` text.

    `prometheus_client` adds suffixes such as `_total` to the name.
    """

    name: str
    text: str


BUILD = MetricName("classification_build", "This gateway's version.")
REDIS_UP = MetricName(
    "classification_redis_up",
    "1 if this gateway could read the cluster's metrics from Redis; 0 if these metrics are missing.",
)
WORKERS = MetricName(
    "classification_workers", "Number of live workers that have loaded and warmed up their model."
)
WORKER_DEVICES = MetricName(
    "classification_worker_devices",
    "Number of live workers by the kind (cpu or gpu) and the name of the device that runs their model.",
)
BATCH_LIMIT = MetricName(
    "classification_batch_limit",
    "Maximum number of inputs in one run of the model; below INPUT_BATCH if a worker had too little memory.",
)
MODEL = MetricName(
    "classification_model",
    "A model that live workers run; while the model is being changed, there is one line for each model.",
)
JOBS_WAITING = MetricName("classification_jobs_waiting", "Number of jobs that wait for a worker.")
OLDEST_JOB_WAIT = MetricName(
    "classification_oldest_job_wait_seconds",
    "Time for which the first job of the queue has waited; 0 if no job waits.",
)
JOBS_RUNNING = MetricName(
    "classification_jobs_running", "Number of jobs that workers have claimed but not ended."
)
IMAGE_BYTES = MetricName(
    "classification_image_bytes", "Total size of the images of all waiting and running jobs, in bytes."
)
JOBS_ENDED = MetricName(
    "classification_jobs_ended", "Number of ended jobs; the label reason is the error code of failed jobs."
)
LATE_ATTEMPTS = MetricName(
    "classification_late_attempts",
    "Number of attempts whose result was discarded because the job's lease had ended.",
)
HTTP_REQUESTS = MetricName(
    "classification_http_requests", "Number of HTTP requests that the gateway has answered."
)
HTTP_SECONDS = MetricName(
    "classification_http_request_duration_seconds", "Time from a request's arrival to its answer."
)


class Histogram(NamedTuple):
    """A histogram to which all workers add values.

    Each value is counted in one bucket: the first bucket whose upper bound is not less than the value.
    """

    name: str
    help: str
    bounds: tuple[float, ...]
    label: str = ""
    """The name of the histogram's label, or '' if the histogram has no label."""

    @property
    def exported(self) -> MetricName:
        """Return the metric's exported name and its help text."""
        return MetricName(f"classification_{self.name}", self.help)


BATCH_INPUTS = Histogram(
    "batch_inputs",
    "Number of inputs (images and regions) in each run of the model.",
    (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
INFERENCE = Histogram(
    "inference_seconds",
    "Duration of each run of the model, also of failed runs; the sum is the total busy time of all models.",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
DECODE = Histogram(
    "decode_seconds",
    "Time to decode an image and resize it to the model's input size.",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
QUEUE_WAIT = Histogram(
    "queue_wait_seconds",
    "Time from a job's submission to the start of its run in the model, minus the image's decoding time.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200),
    "queue",
)
ANSWER = Histogram(
    "answer_seconds",
    "Time from a job's submission until the model has computed its scores.",
    QUEUE_WAIT.bounds,
    "queue",
)
HISTOGRAMS = (BATCH_INPUTS, INFERENCE, DECODE, QUEUE_WAIT, ANSWER)
