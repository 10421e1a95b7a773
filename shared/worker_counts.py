"""The counts that all workers add up in Redis; `gateway.metric_names` has the exported metrics' names.

A count's name in Redis is `KIND:LABEL:REST`: `jobs:interactive:image-damaged`, `decode_seconds::0.05`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

JOBS = "jobs"
"""KIND of the counts of ended jobs: LABEL is the queue; REST is the failure's code, or empty."""

LATE = "late"
"""KIND of the counts of attempts that ended after their lease; LABEL is the queue."""

SUM = "sum"
"""REST in the name of a histogram's sum. In the name of a bucket, REST is the bucket's upper bound."""


class Histogram(NamedTuple):
    """A histogram that all workers fill.

    A value counts in the first bucket whose upper bound is not below the value.
    """

    name: str
    help: str
    bounds: tuple[float, ...]
    label: str = ""
    """The name of the metric's label; empty: the histogram has no label."""


BATCH_INPUTS = Histogram(
    "batch_inputs",
    "Inputs (images and regions) of each run of the model.",
    (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
INFERENCE = Histogram(
    "inference_seconds",
    "Time of each run of the model, also of those that failed; the sum is how long models were busy.",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
DECODE = Histogram(
    "decode_seconds",
    "Time to turn an image into the model's pixels.",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
QUEUE_WAIT = Histogram(
    "queue_wait_seconds",
    "Time from a job's submission to its run in the model, without the decoding.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200),
    "queue",
)
ANSWER = Histogram(
    "answer_seconds",
    "Time from a job's submission to its scores: the wait, the decoding and the model.",
    QUEUE_WAIT.bounds,
    "queue",
)
HISTOGRAMS = (BATCH_INPUTS, INFERENCE, DECODE, QUEUE_WAIT, ANSWER)


class Count(NamedTuple):
    """The name of one count in Redis: KIND, LABEL and REST."""

    kind: str
    label: str
    rest: str

    def __str__(self) -> str:
        return ":".join(self)

    @classmethod
    def parse(cls, name: str) -> "Count":
        """Parse the name of a count in Redis, which `str` returns."""
        kind, label, rest = name.split(":", 2)
        return cls(kind, label, rest)


@dataclass(frozen=True)
class QueueMetrics:
    """The state of the queues at one moment, and all counts; `oldest_wait` is in seconds."""

    waiting: Mapping[str, int]
    oldest_wait: Mapping[str, float]
    running: Mapping[str, int]
    image_bytes: int
    counts: Mapping[Count, float]
