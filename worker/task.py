"""The function that RQ requires in a job's record; this project's worker never calls the function."""

from typing import Any


def classify(**options: Any) -> None:
    """Explain the mistake when RQ's own `rq worker` runs a job of this project.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("this job needs a worker of classification-server: start one with `python -m worker`")
