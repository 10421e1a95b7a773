"""Defines the counts in Redis to which all workers add.

The module `shared.metric_names` has the names under which `GET /metrics` returns these counts.

A count's name in Redis has the form `KIND:LABEL:REST`, for example `jobs:interactive:image-damaged` or
`decode_seconds::0.05`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

JOBS = "jobs"
"""The text KIND in the name of a count of ended jobs.

LABEL is the queue. For failed jobs, REST is the failure's code. For successful jobs, REST is empty."""

LATE = "late"
"""The text KIND in the name of a count of attempts that ended after their lease. LABEL is the queue."""

SUM = "sum"
"""The text REST in the name of a histogram's sum.

In the name of a bucket's count, REST is the bucket's upper bound."""


class Count(NamedTuple):
    """The name of a count in Redis, split at the colons of `KIND:LABEL:REST`."""

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
    """The state of the queues, and the values of all counts.

    `oldest_wait` is in seconds. `image_bytes` is the total size of the images in Redis.
    """

    waiting: Mapping[str, int]
    oldest_wait: Mapping[str, float]
    running: Mapping[str, int]
    image_bytes: int
    counts: Mapping[Count, float]
