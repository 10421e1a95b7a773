"""Defines the counts in Redis to which all workers add.

`shared.metric_names` has the names of the exported metrics.

A count's name in Redis has the form `KIND:LABEL:REST`, for example `jobs:interactive:image-damaged` or
`decode_seconds::0.05`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

JOBS = "jobs"
"""The part KIND in the names of the counts of ended jobs. LABEL is the queue, and REST is the failure's code
or empty."""

LATE = "late"
"""The part KIND in the names of the counts of attempts that ended after their lease. LABEL is the queue."""

SUM = "sum"
"""The part REST in the name of a histogram's sum. In a bucket's count, REST is the bucket's upper bound."""


class Count(NamedTuple):
    """The three parts of a count's name in Redis."""

    kind: str
    label: str
    rest: str

    def __str__(self) -> str:
        return ":".join(self)

    @classmethod
    def parse(cls, name: str) -> "Count":
        """Parse a count's name in the form `KIND:LABEL:REST`."""
        kind, label, rest = name.split(":", 2)
        return cls(kind, label, rest)


@dataclass(frozen=True)
class QueueMetrics:
    """The state of the queues, and all counts. Waiting times are in seconds, and image sizes are in bytes."""

    waiting: Mapping[str, int]
    oldest_wait: Mapping[str, float]
    running: Mapping[str, int]
    image_bytes: int
    counts: Mapping[Count, float]
