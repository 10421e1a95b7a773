"""Finds this program's version, which appears in the log, in /cfg and in /metrics."""

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """Return this program's version, or 'unknown' if the program is not installed as a package."""
    try:
        return metadata.version("classification-server")
    except metadata.PackageNotFoundError:
        return "unknown"
