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
"""The constants of the module `script_constants`.

The Lua scripts use these constants under the same names."""

RECORDS = ("records",)
"""The Lua file with functions for Redis records.

The file's text is inserted before the text of other scripts."""

END_JOB = (*RECORDS, "end_job")
"""The Lua files that a script for ending jobs needs.

The texts of these files precede the script's own text, in the order of this tuple."""


class Script:
    """A Lua script. The script's text consists of the shared constants and the text of one or more files.

    A call of the script sends only the SHA-1 hash of the script's text. If Redis does not know the hash, the
    call also sends the script's text.
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
        """Add this script to the Redis pipeline `pipe` as the last command, and run the pipeline.

        Returns the script's result.
        """
        pipe.evalsha(self.sha, len(keys), *keys, *args)
        *before, result = pipe.execute(raise_on_error=False)
        if isinstance(result, NoScriptError) and not any(isinstance(each, Exception) for each in before):
            return self(redis, keys, args)
        for each in (*before, result):
            if isinstance(each, Exception):
                raise each
        return result
