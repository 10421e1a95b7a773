"""Runs the Lua scripts of `shared/queue/lua/`."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import NoScriptError

from shared.queue import script_constants

CONSTANTS = {name: value for name, value in vars(script_constants).items() if name.isupper()}
"""The constants of `script_constants`, which the Lua scripts use under the same names."""

RECORDS = ("records",)
"""The Lua file with functions for Redis records. Its text is inserted before the text of other scripts."""

END_JOB = (*RECORDS, "end_job")
"""The Lua files that are inserted, in this order, before the text of a script that ends jobs."""


class Script:
    """A Lua script, made of shared constants and one or more files.

    The script's text is sent to Redis only once. Later calls send only the text's SHA-1 digest.
    """

    def __init__(self, *names: str) -> None:
        folder = Path(__file__).with_name("lua")
        files = [(folder / f"{name}.lua").read_text("utf-8") for name in names]
        constants = [f"local {name} = {json.dumps(value)}" for name, value in CONSTANTS.items()]
        self.text = "\n".join(constants + files)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, redis: "Redis", keys: Sequence[Any], args: Iterable[Any]) -> Any:
        """Run the script in Redis and return the script's result."""
        arguments = (len(keys), *keys, *args)
        try:
            return redis.evalsha(self.sha, *arguments)
        except NoScriptError:
            return redis.eval(self.text, *arguments)

    def last_in(self, pipe: Pipeline, redis: "Redis", keys: Sequence[Any], args: Sequence[Any]) -> Any:
        """Run the Redis pipeline `pipe` with this script as last command, and return the script's result."""
        pipe.evalsha(self.sha, len(keys), *keys, *args)
        *before, result = pipe.execute(raise_on_error=False)
        if isinstance(result, NoScriptError) and not any(isinstance(each, Exception) for each in before):
            return self(redis, keys, args)
        for each in (*before, result):
            if isinstance(each, Exception):
                raise each
        return result
