"""Collects decoded jobs while the model is busy, and chooses the jobs of the next batch.

`worker/run_plan.py` then splits a batch into runs of the model.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.job import Options
from shared.queue import BULK, QUEUES
from shared.queue.messages import Claim
from shared.queue.script_constants import MAX_INTERACTIVE_TURNS

MIN_FILL_BESIDE_OTHERS = 0.5
"""Minimum fill of a batch that starts while other batches are under way, as a share of a full batch.

A run on a card costs as much time for its start as for about 40 inputs of a large model. Therefore, small
batches side by side are slower than one batch. Two halves of a batch are faster than the whole batch, because
the copies of one half overlap with the run of the other half."""


@dataclass(frozen=True)
class DecodedJob:
    """A claimed job whose image is decoded: `pixels` is uint8 [inputs, height, width, channels].

    `is_truncated` is whether a part of the image is missing.
    """

    claim: Claim
    options: Options
    pixels: NDArray[np.uint8]
    decode_seconds: float
    is_truncated: bool = False
    decoded_at: float = field(default_factory=time.monotonic)

    def seconds_waited(self, moment: float) -> float:
        """Return the number of seconds that the job waited until `moment`.

        The job waited in the queue before its decoding, and for the model after its decoding.
        """
        return self.claim.seconds_waited + moment - self.decoded_at


class NextBatch:
    """Collects decoded jobs for the model, at most one batch per queue.

    Several threads may use one object at once. `max_inputs` returns the current maximum number of inputs in
    one batch. This maximum may change at any time.

    Each batch that `take` has returned is under way until `finish` is called. While no batch is under way,
    `take` returns as soon as there is a decoded job. While other batches are under way, `take` waits until
    the next batch is filled to `MIN_FILL_BESIDE_OTHERS`. With a flush interval in seconds, `take` waits for a
    full batch, but not longer than this interval.
    """

    def __init__(self, max_inputs: Callable[[], int], flush_interval: float = 0.0) -> None:
        self.max_inputs, self._flush_interval = max_inputs, flush_interval
        # `_next_queue` prefers the first queue; this is the interactive queue, because it is first in QUEUES.
        self._jobs: dict[str, list[DecodedJob]] = {queue: [] for queue in QUEUES}
        self._changed = threading.Condition()
        self._closed = False
        self._under_way = 0
        self._interactive_in_a_row = 0

    def room(self) -> dict[str, int]:
        """Return, for each queue, the number of further inputs that fit into the next batch."""
        maximum = self.max_inputs()
        with self._changed:
            return {queue: max(maximum - _inputs(jobs), 0) for queue, jobs in self._jobs.items()}

    def add(self, jobs: Sequence[DecodedJob]) -> None:
        """Put decoded jobs into the next batch."""
        with self._changed:
            for job in jobs:
                self._jobs[job.claim.queue].append(job)
            self._changed.notify_all()

    def take(self) -> list[DecodedJob]:
        """Wait for the next batch and return its jobs. After `close`, the returned list is empty.

        Interactive jobs have priority over bulk jobs. After `MAX_INTERACTIVE_TURNS` interactive batches in a
        row, waiting bulk jobs get one batch.
        """
        with self._changed:
            while not self._closed:
                queue = self._next_queue()
                wait = self._seconds_to_flush(self._jobs[queue]) if queue and self._may_start() else None
                if queue and wait == 0.0:
                    self._under_way += 1
                    return self._remove(queue)
                self._changed.wait(wait)
            return []

    def finish(self) -> None:
        """Announce the end of a batch that `take` has returned."""
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def _may_start(self) -> bool:
        # The jobs of both queues count: while many bulk jobs wait, an interactive job must not wait longer.
        waiting = sum(map(_inputs, self._jobs.values()))
        return not self._under_way or waiting >= MIN_FILL_BESIDE_OTHERS * self.max_inputs()

    def _next_queue(self) -> str | None:
        if self._interactive_in_a_row >= MAX_INTERACTIVE_TURNS and self._jobs[BULK]:
            return BULK
        return next((queue for queue, jobs in self._jobs.items() if jobs), None)

    def _remove(self, queue: str) -> list[DecodedJob]:
        bulk_waits = queue != BULK and bool(self._jobs[BULK])
        self._interactive_in_a_row = self._interactive_in_a_row + 1 if bulk_waits else 0
        batch, self._jobs[queue] = self._jobs[queue], []
        self._changed.notify_all()
        return batch

    def wait_for_room(self, seconds: float) -> None:
        """Wait until the next batch changes, but at most `seconds`."""
        with self._changed:
            self._changed.wait(seconds)

    def close(self) -> list[DecodedJob]:
        """End the collection, so that `take` returns no more jobs.

        Returns the decoded jobs that `take` has not returned.
        """
        with self._changed:
            self._closed = True
            rest = [job for jobs in self._jobs.values() for job in jobs]
            self._jobs = {queue: [] for queue in QUEUES}
            self._changed.notify_all()
            return rest

    def _seconds_to_flush(self, jobs: Sequence[DecodedJob]) -> float:
        if _inputs(jobs) >= self.max_inputs():
            return 0.0
        return max(jobs[0].decoded_at + self._flush_interval - time.monotonic(), 0.0)


def _inputs(jobs: Sequence[DecodedJob]) -> int:
    return sum(len(job.pixels) for job in jobs)
