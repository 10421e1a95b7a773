"""Runs `cli.bench.bare_engine` as a child process.

`cli.bench.bare_engine` measures the engine without the service.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Measure = Callable[[dict[str, Any]], dict[str, Any]]
"""Function that sends a plan of measurements to the engine's process and returns the measurements.

The function raises RuntimeError if the process fails.
"""


@contextmanager
def bare_engine(environ: Mapping[str, str]) -> Iterator[Measure]:
    """Start the engine's process; yield a function that sends plans of measurements to the process."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "cli.bench.bare_engine"],
            env=os.environ | dict(environ) | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):

        def measure(plan: dict[str, Any]) -> dict[str, Any]:
            assert process.stdin and process.stdout
            print(json.dumps(plan), file=process.stdin, flush=True)
            answer: dict[str, Any] | None = json.loads(process.stdout.readline() or "null")
            if answer is None:
                errors.seek(0)
                raise RuntimeError(f"cli.bench.bare_engine failed:\n{errors.read()[-3000:]}")
            return answer

        yield measure
