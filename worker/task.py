"""The function that every job's record names, for RQ's tools; our own worker never calls it."""

from typing import Any


def classify(**options: Any) -> None:
    """Say what went wrong when a stock `rq worker` takes one of our jobs.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("this job needs a worker of classification-server: start one with `python -m worker`")
