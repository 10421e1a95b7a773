"""This program's version, for logs, /cfg and /metrics."""

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """What the installed package says."""
    try:
        return metadata.version("classification-server")
    except metadata.PackageNotFoundError:
        return "unknown"  # run from its source, not installed
