"""Reads from Redis that survive keys of another type."""

from typing import Any

from redis.client import Pipeline


def read_all(pipe: Pipeline) -> list[Any]:
    """The answers of a pipeline that reads; None where something else stands than what is looked for."""
    answers = pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and not str(answer).startswith("WRONGTYPE"):
            raise answer
    return [None if isinstance(answer, Exception) else answer for answer in answers]
