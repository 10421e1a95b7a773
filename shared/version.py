"""This program's version, for logs, /cfg and /metrics."""

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """Return the installed package's version, or 'unknown' if the package is not installed."""
    try:
        return metadata.version("classification-server")
    except metadata.PackageNotFoundError:
        return "unknown"
