"""The function that every job's record names, for RQ's tools; this project's worker never calls it."""

from typing import Any


def classify(**options: Any) -> None:
    """Explain the mistake when RQ's own `rq worker` runs a job of this project.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("this job needs a worker of classification-server: start one with `python -m worker`")
