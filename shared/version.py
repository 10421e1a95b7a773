"""This program's version, for logs, /cfg and /metrics."""

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """Return the installed package's version, or 'unknown' where the program runs from its source."""
    try:
        return metadata.version("classification-server")
    except metadata.PackageNotFoundError:
        return "unknown"
