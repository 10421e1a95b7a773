"""Running the Lua scripts of `shared/queue/lua/`."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import NoScriptError

ENDING = ("fields", "ended")
"""The files in front of a script that ends jobs."""


class Script:
    """A Lua script, of one or more files, that is sent whole only when the server does not know it."""

    def __init__(self, *names: str) -> None:
        folder = Path(__file__).with_name("lua")
        self.text = "\n".join(folder.joinpath(f"{name}.lua").read_text("utf-8") for name in names)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, redis: "Redis", keys: Sequence[Any], args: Iterable[Any]) -> Any:
        """Run the script, and return its answer."""
        arguments = (len(keys), *keys, *args)
        try:
            return redis.evalsha(self.sha, *arguments)
        except NoScriptError:
            return redis.eval(self.text, *arguments)

    def last_in(self, pipe: Pipeline, redis: "Redis", keys: Sequence[Any], args: Sequence[Any]) -> Any:
        """Send `pipe` with this script as its last command, and return the script's answer."""
        pipe.evalsha(self.sha, len(keys), *keys, *args)
        *before, answer = pipe.execute(raise_on_error=False)
        for error in before:
            if isinstance(error, Exception):
                raise error
        if isinstance(answer, NoScriptError):
            return self(redis, keys, args)
        if isinstance(answer, Exception):
            raise answer
        return answer
