"""The jobs that this worker has claimed under a lease, and that have no final state yet."""

import threading
from collections.abc import Iterable

from shared.queue.messages import Claim


class LeasedJobs:
    """This worker's claimed jobs, by execution id. Several threads may use this object at once."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._lost: set[str] = set()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._claims)

    def add(self, claims: Iterable[Claim]) -> None:
        """Add claims."""
        with self._changed:
            self._claims.update((claim.execution, claim) for claim in claims)

    def remove(self, claims: Iterable[Claim]) -> None:
        """Remove claims of jobs that were settled or given back to their queue."""
        with self._changed:
            for claim in claims:
                self._claims.pop(claim.execution, None)
                self._lost.discard(claim.execution)
            self._changed.notify_all()

    def all(self) -> list[Claim]:
        """Return the claims, oldest first."""
        with self._changed:
            return list(self._claims.values())

    def mark_lost(self, executions: Iterable[str]) -> None:
        """Mark claims whose lease has ended, for example because another worker now has the job."""
        with self._changed:
            self._lost.update(each for each in executions if each in self._claims)

    def is_lost(self, claim: Claim) -> bool:
        """Return whether a claim's lease has ended.

        After the lease has ended, Redis discards this worker's answer to the job.
        """
        return claim.execution in self._lost

    def wait_empty(self, seconds: float) -> bool:
        """Wait until this worker has no jobs, but at most `seconds`.

        Returns False if this worker still has a job.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._claims, seconds)
