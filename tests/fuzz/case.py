"""One case: a harness run within bounds of processor time and memory."""

import resource
import sys
import time
from collections.abc import Callable

MAX_SECONDS = 5.0
"""Processor time of a case; its input has some kilobytes."""

MAX_MEGABYTES = 512
"""By which the largest memory of the process may grow over all cases."""


class Fault(AssertionError):
    """A case took more than it may."""


def bounded(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The harness with a check of what each case took.

    Memory is measured, not limited: a parser that catches everything would catch the MemoryError too.
    """
    most = _peak() + MAX_MEGABYTES
    # A file as large as a disk, or a dump of a process as large as memory, help nobody.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, 2**30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def one(data: bytes) -> None:
        start = time.process_time()
        run(data)
        if (spent := time.process_time() - start) > MAX_SECONDS:
            raise Fault(f"{len(data)} bytes took {spent:.1f} s of the processor")
        if (peak := _peak()) > most:
            raise Fault(f"{len(data)} bytes took memory to {peak:.0f} MB, {MAX_MEGABYTES} more than at first")

    return one


def _peak() -> float:
    """Megabytes that the process has held at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)
