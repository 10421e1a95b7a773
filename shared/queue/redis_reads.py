"""Reads Redis keys, and ignores keys whose value has an unexpected type."""

from typing import Any

from redis.client import Pipeline


def read_all(pipe: Pipeline) -> list[Any]:
    """Run a pipeline of read commands.

    Returns each command's reply, or None for a key of an unexpected type.
    """
    answers = pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and not str(answer).startswith("WRONGTYPE"):
            raise answer
    return [None if isinstance(answer, Exception) else answer for answer in answers]
