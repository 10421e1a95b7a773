"""What is counted of all jobs and workers together; it stands in Redis, and every gateway tells it.

A count's name in Redis is `KIND:LABEL:REST`: `jobs:interactive:image-damaged`, `decode_seconds::0.05`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

JOBS = "jobs"
"""The kind of the counts of ended jobs, which the scripts write: by queue, the rest is the failure's code."""

LATE = "late"
"""The kind of the counts of attempts that workers made in vain, by queue."""

SUM = "sum"
"""The rest of a distribution's name under which its values are added up; else it is a bucket's bound."""


class Histogram(NamedTuple):
    """A histogram that all workers fill: a value counts in the first bucket whose bound it does not pass."""

    name: str
    help: str
    bounds: tuple[float, ...]
    label: str = ""
    """The label that tells its parts from each other, if any."""


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
    """The name of one count."""

    kind: str
    label: str
    rest: str

    def __str__(self) -> str:
        return ":".join(self)

    @classmethod
    def parse(cls, name: str) -> "Count":
        """Read what `str` writes."""
        kind, label, rest = name.split(":", 2)
        return cls(kind, label, rest)


@dataclass(frozen=True)
class QueueMetrics:
    """How the queues are at one moment, and what was counted so far; the waits are in seconds."""

    waiting: Mapping[str, int]
    oldest_wait: Mapping[str, float]
    running: Mapping[str, int]
    image_bytes: int
    counts: Mapping[Count, float]
