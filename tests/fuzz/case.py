"""Runs a harness on one case and checks its processor time and memory."""

import resource
import sys
import time
from collections.abc import Callable

MAX_SECONDS = 5.0
"""Maximum processor time of a case in seconds; an input has a few kilobytes."""

MAX_MEGABYTES = 512
"""Maximum growth of the process's peak memory over all cases, in megabytes."""


class LimitExceeded(AssertionError):
    """A case needed too much processor time or memory."""


def limited(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Return the harness with a check of the time and memory of each case.

    Memory is measured, not limited: a parser that catches everything would catch the MemoryError too.
    """
    max_peak = _peak() + MAX_MEGABYTES
    # These limits prevent files that fill the disk and core dumps of the size of the memory.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, 2**30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def run_case(data: bytes) -> None:
        start = time.process_time()
        run(data)
        if (spent := time.process_time() - start) > MAX_SECONDS:
            raise LimitExceeded(f"{len(data)} bytes needed {spent:.1f} s of processor time")
        if (peak := _peak()) > max_peak:
            raise LimitExceeded(
                f"{len(data)} bytes raised memory to {peak:.0f} MB, by over {MAX_MEGABYTES} MB"
            )

    return run_case


def _peak() -> float:
    """Return the peak memory of the process in megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)
