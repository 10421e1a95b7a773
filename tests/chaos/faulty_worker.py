"""A worker with faults that tests switch on: `python -m tests.chaos.faulty_worker`.

The content of the file CHAOS_FILE selects the fault:

- "hang": the next run of the model hangs.
- "hang decoder": the next call of the decoder hangs.
- "oom": the model runs out of memory for more than two inputs.

Each run of the model takes CHAOS_PAUSE seconds longer. The worker's clock is ahead by the number of seconds
in the file CHAOS_CLOCK. A magenta image makes the model raise an error. An image that ends with POISON kills
the process that decodes it.
"""

import contextlib
import datetime
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import shared.queue.wire
import worker.fetch_stage
from worker import __main__ as program
from worker.engine import Engine

POISON = b"POISON"
MAGENTA = (255, 0, 255)

_run, _decode, _time = Engine._run, worker.fetch_stage.decode, time.time


def active_fault() -> str:
    """Return the content of the file CHAOS_FILE, or an empty string if there is no such file."""
    with contextlib.suppress(FileNotFoundError):
        return Path(os.environ["CHAOS_FILE"]).read_text()
    return ""


def run(self: Engine, pixels: Any, size: int) -> Any:
    """Replace the engine's method: cause the fault of the model, then call the method."""
    time.sleep(float(os.environ.get("CHAOS_PAUSE", "0")))
    fault = active_fault()
    if fault == "hang":
        Path(os.environ["CHAOS_FILE"]).unlink(missing_ok=True)
        time.sleep(3600)
    if fault == "oom" and len(pixels) > 2:
        import tensorflow as tf

        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    if (pixels == MAGENTA).all(axis=(1, 2, 3)).any():
        raise ValueError("this model does not accept magenta")
    return _run(self, pixels, size)


def decode(data: bytes, *arguments: Any) -> Any:
    """Replace the worker's function: cause the fault of the decoder, then call the function."""
    if data.endswith(POISON):
        os.kill(os.getpid(), signal.SIGSEGV)
    if active_fault() == "hang decoder":
        Path(os.environ["CHAOS_FILE"]).unlink(missing_ok=True)
        time.sleep(3600)
    return _decode(data, *arguments)


def wrong_time() -> float:
    """Return the time of a clock that is set wrong. libfaketime would break Python's `sleep`."""
    clock = os.environ.get("CHAOS_CLOCK")
    return _time() + (float(Path(clock).read_text() or 0) if clock else 0.0)


class WrongDatetime(datetime.datetime):
    """A `datetime` with the wrong time; the worker writes its times in Redis with this class."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "WrongDatetime":
        """Return the wrong time."""
        return cls.fromtimestamp(wrong_time(), tz)


if __name__ == "__main__":
    time.time = wrong_time
    datetime.datetime = shared.queue.wire.datetime = WrongDatetime  # type: ignore[assignment, misc]
    Engine._run = run  # type: ignore[method-assign]
    worker.fetch_stage.decode = decode
    sys.exit(program.main())
