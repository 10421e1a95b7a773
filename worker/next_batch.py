"""The batch that fills while the model is busy."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.job import Options
from shared.queue import BULK, QUEUES
from shared.queue.messages import Claim

TURNS = 8
"""Batches in a row for which a batch of bulk jobs waits here, while interactive ones keep coming."""


@dataclass(frozen=True)
class DecodedJob:
    """A claimed job whose image is decoded: `pixels` is uint8 [inputs, height, width, channels]."""

    claim: Claim
    options: Options
    pixels: NDArray[np.uint8]
    decode_seconds: float
    since: float = field(default_factory=time.monotonic)

    def seconds_waited(self, start: float) -> float:
        """The time in the queue and in the next batch, until the model was started at the time `start`."""
        return self.claim.seconds_waited + start - self.since


class NextBatch:
    """At most one batch of each queue, decoded ahead of the model; safe between threads.

    Batching is work-conserving: `take` answers as soon as anything is here. With a flush interval it
    holds a partial batch open for that long at most.
    """

    def __init__(self, full: int, flush_interval: float = 0.0) -> None:
        self._full, self._flush_interval = full, flush_interval
        # In the order of QUEUES: interactive jobs go first.
        self._lanes: dict[str, list[DecodedJob]] = {queue: [] for queue in QUEUES}
        self._changed = threading.Condition()
        self._closed = False
        self._passed_over = 0

    def room(self) -> dict[str, int]:
        """How many more inputs fit, for each queue."""
        with self._changed:
            return {queue: max(self._full - _inputs(lane), 0) for queue, lane in self._lanes.items()}

    def add(self, prepared: Sequence[DecodedJob]) -> None:
        """Put decoded jobs into the next batch."""
        with self._changed:
            for each in prepared:
                self._lanes[each.claim.queue].append(each)
            self._changed.notify_all()

    def take(self) -> list[DecodedJob]:
        """Wait for the next batch and return it; interactive jobs first, `TURNS` times. Empty once closed."""
        with self._changed:
            while not self._closed:
                lane = self._next_lane()
                wait = self._seconds_to_flush(lane) if lane else None
                if lane and wait == 0.0:
                    return self._empty(lane)
                self._changed.wait(wait)
            return []

    def _next_lane(self) -> list[DecodedJob] | None:
        if self._passed_over >= TURNS and self._lanes[BULK]:
            return self._lanes[BULK]
        return next((lane for lane in self._lanes.values() if lane), None)

    def _empty(self, lane: list[DecodedJob]) -> list[DecodedJob]:
        bulk = self._lanes[BULK]
        self._passed_over = 0 if lane is bulk or not bulk else self._passed_over + 1
        batch = lane[:]
        lane.clear()
        self._changed.notify_all()
        return batch

    def wait_taken(self, seconds: float) -> None:
        """Return when a batch was taken, or after `seconds`."""
        with self._changed:
            self._changed.wait(seconds)

    def close(self) -> list[DecodedJob]:
        """Hand out no more batches, and return what was not begun."""
        with self._changed:
            self._closed = True
            rest = [each for lane in self._lanes.values() for each in lane]
            for lane in self._lanes.values():
                lane.clear()
            self._changed.notify_all()
            return rest

    def _seconds_to_flush(self, lane: Sequence[DecodedJob]) -> float:
        if _inputs(lane) >= self._full:
            return 0.0
        return max(lane[0].since + self._flush_interval - time.monotonic(), 0.0)


def _inputs(lane: Sequence[DecodedJob]) -> int:
    return sum(len(each.pixels) for each in lane)
