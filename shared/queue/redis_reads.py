"""Reads Redis keys. If a key's value has an unexpected type, the key is ignored."""

from typing import Any

from redis.client import Pipeline


def read_all(pipe: Pipeline) -> list[Any]:
    """Run a pipeline of read commands.

    Returns the reply to each command. If the value of a key has an unexpected type, the reply is None.
    """
    answers = pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and not str(answer).startswith("WRONGTYPE"):
            raise answer
    return [None if isinstance(answer, Exception) else answer for answer in answers]
