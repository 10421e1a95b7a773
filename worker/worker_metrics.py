"""Collects this worker's counts until the worker adds them to the metrics of all workers in Redis."""

import logging
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf

from shared import metric_names, worker_counts
from shared.queue.messages import Claim
from worker.next_batch import DecodedJob

logger = logging.getLogger(__name__)

Amounts = Mapping[str, float]


class WorkerMetrics:
    """Collects counts in memory until `send` is called.

    Each call of a `count_…` method counts a whole batch. Several threads may use one object at once.
    """

    def __init__(self) -> None:
        self._new: defaultdict[tuple[str, str, float | str], float] = defaultdict(float)
        self._counting = threading.Lock()
        self._unsent: dict[str, float] = {}
        self._number = 0
        self._sending = threading.Lock()

    def count_started(self, jobs: Sequence[DecodedJob], start: float) -> None:
        """Count the decoding times and waiting times of jobs.

        The model begins to score these jobs at `start`.
        """
        with self._counting:
            for job in jobs:
                self._observe(metric_names.DECODE, job.decode_seconds)
                self._observe(metric_names.QUEUE_WAIT, job.seconds_waited(start), job.claim.queue)

    def count_run(self, inputs: int, seconds: float, busy_seconds: float | None = None) -> None:
        """Count the inputs and the duration of one run of the model. Failed runs are also counted.

        `busy_seconds` is the part of the duration that overlaps with no earlier run; by default, the whole
        duration. The sum of these parts is the busy time of the model.
        """
        with self._counting:
            self._observe(metric_names.BATCH_INPUTS, inputs)
            self._observe(metric_names.INFERENCE, seconds, amount=busy_seconds)

    def count_answered(self, jobs: Sequence[DecodedJob], end: float) -> None:
        """Count the answer times of jobs whose scores were ready at `end`."""
        with self._counting:
            for job in jobs:
                seconds = job.decode_seconds + job.seconds_waited(end)
                self._observe(metric_names.ANSWER, seconds, job.claim.queue)

    def count_late(self, claims: Iterable[Claim]) -> None:
        """Log and count attempts whose answers were discarded because their leases had ended."""
        with self._counting:
            for claim in claims:
                logger.warning(
                    "job %s: attempt %d discarded: its lease had ended; request %s",
                    *(claim.job_id, claim.attempt, claim.request_id),
                    extra={"job": claim.job_id, "requests": [claim.request_id]},
                )
                self._new[worker_counts.LATE, claim.queue, ""] += 1

    def _observe(
        self, histogram: metric_names.Histogram, value: float, label: str = "", amount: float | None = None
    ) -> None:
        index = bisect_left(histogram.bounds, value)
        bound = histogram.bounds[index] if index < len(histogram.bounds) else inf
        self._new[histogram.name, label, bound] += 1
        self._new[histogram.name, label, worker_counts.SUM] += value if amount is None else amount

    def send(self, count: Callable[[int, Amounts], None]) -> None:
        """Call `count` with a message number and a dictionary.

        The dictionary has all counts since the last message, by name. If `count` raises, the next call sends
        the same counts under the same number. This happens, for example, if only the reply was lost. The
        receiver recognizes a repeated message by its number and does not count the message again.
        """
        with self._sending:
            while self._unsent or self._collect():
                count(self._number, self._unsent)
                self._unsent = {}

    def _collect(self) -> bool:
        with self._counting:
            new, self._new = self._new, defaultdict(float)
        self._unsent = {
            str(worker_counts.Count(name, label, str(rest))): n for (name, label, rest), n in new.items()
        }
        self._number += 1
        return bool(new)
