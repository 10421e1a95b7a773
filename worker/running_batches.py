"""The batches on which the model runs at this moment, with the times of their runs."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from shared.queue.messages import Claim
from worker.next_batch import DecodedJob


@dataclass(frozen=True)
class RunningBatch:
    """Jobs on which the model has been running since `start`, a time of the monotonic clock."""

    jobs: Sequence[DecodedJob]
    start: float


@dataclass(frozen=True)
class RunTimes:
    """The times of an ended run, by the monotonic clock.

    `first` is the start of the oldest run that was under way at `end`. `busy_seconds` is the part of the
    run's duration that belongs to no run that ended earlier.
    """

    start: float
    first: float
    end: float
    busy_seconds: float

    @property
    def seconds(self) -> float:
        """Duration of the run in seconds."""
        return self.end - self.start


class RunningBatches:
    """The batches on which the model runs now. Several threads may use one object at once."""

    def __init__(self) -> None:
        self._running: dict[int, RunningBatch] = {}
        self._changing = threading.Lock()
        self._last_end = 0.0

    def begin(self, jobs: Sequence[DecodedJob]) -> None:
        """Add the batch of the calling thread."""
        with self._changing:
            self._running[threading.get_ident()] = RunningBatch(jobs, time.monotonic())

    def end(self) -> RunTimes:
        """Remove the batch of the calling thread."""
        with self._changing:
            end, first = time.monotonic(), min(each.start for each in self._running.values())
            start = self._running.pop(threading.get_ident()).start
            busy, self._last_end = end - max(first, self._last_end), end
            return RunTimes(start, first, end, busy)

    def longer_than(self, seconds: float) -> list[Claim]:
        """Return the jobs of the batches that have been running for more than `seconds`."""
        latest = time.monotonic() - seconds
        with self._changing:
            late = [each for each in self._running.values() if each.start < latest]
        return [job.claim for each in late for job in each.jobs]
