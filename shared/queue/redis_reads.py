"""Reads from Redis that do not fail because of keys of an unexpected type."""

from typing import Any

from redis.client import Pipeline


def read_all(pipe: Pipeline) -> list[Any]:
    """Run a pipeline of read commands. Returns their replies; None for a key of an unexpected type."""
    answers = pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and not str(answer).startswith("WRONGTYPE"):
            raise answer
    return [None if isinstance(answer, Exception) else answer for answer in answers]
