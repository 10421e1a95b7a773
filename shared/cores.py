"""Counts the CPU cores that this process may use."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Return the number of CPU cores that this process may use, at least 1.

    The result respects the process's CPU affinity (`taskset`, `docker run --cpuset-cpus`) and the CPU quota
    of its cgroups (`docker run --cpus`, Kubernetes' limits, systemd's CPUQuota). A quota of 1.5 cores counts
    as 2 cores. Python's `os.cpu_count` counts all cores of the machine.
    """
    # macOS has no affinity.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([allowed, *(max(1, math.ceil(quota)) for quota in _quotas())])


def _quotas() -> Iterator[float]:
    """Yield the CPU quota, in cores, of each cgroup of this process that has a quota."""
    lines = OWN_CGROUPS.read_text().splitlines() if OWN_CGROUPS.exists() else ()
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if not controllers:
            yield from _read_quotas(CGROUPS, path, _version_2)
        elif "cpu" in controllers.split(","):
            yield from _read_quotas(CGROUPS / "cpu", path, _version_1)


def _read_quotas(root: Path, path: str, read: Callable[[Path], tuple[str, str]]) -> Iterator[float]:
    """Yield the quotas of a cgroup and of all its parents.

    Inside a container, the path may be the host's path, which does not exist there. The container's own
    cgroup is then the root folder.
    """
    folder = root / path.lstrip("/")
    while folder.is_relative_to(root):
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(int, read(folder))
            if quota > 0:  # Without a quota, cgroup v1 has the quota -1, and cgroup v2 has "max".
                yield quota / period
        folder = folder.parent


def _version_2(folder: Path) -> tuple[str, str]:
    quota, period = (folder / "cpu.max").read_text().split()
    return quota, period


def _version_1(folder: Path) -> tuple[str, str]:
    return (folder / "cpu.cfs_quota_us").read_text(), (folder / "cpu.cfs_period_us").read_text()
