"""The function that RQ requires in a job's record; this project's worker never calls the function."""

from typing import Any


def classify(**options: Any) -> None:
    """Raise an error that explains the mistake of running this project's jobs with RQ's own `rq worker`.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("this job needs a worker of classification-server: start one with `python -m worker`")
