"""A worker with faults that tests switch on: `python -m tests.chaos.faulty_worker`.

The file that CHAOS_FILE names says which: "hang" (once, in the model), "hang decoder" (once), "oom" (more
than two inputs at once).
Each run of the model takes CHAOS_PAUSE seconds longer. Its clock is wrong by as many seconds as the file of
CHAOS_CLOCK says. A magenta image makes the model raise; one with POISON behind its data kills the process
that decodes it.
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

_run, _decode, _time = Engine.run_size, worker.fetch_stage.decode, time.time


def switched() -> str:
    """The fault that is switched on, if any."""
    with contextlib.suppress(FileNotFoundError):
        return Path(os.environ["CHAOS_FILE"]).read_text()
    return ""


def run(self: Engine, pixels: Any, size: int) -> Any:
    """The engine's, with its faults."""
    time.sleep(float(os.environ.get("CHAOS_PAUSE", "0")))
    fault = switched()
    if fault == "hang":
        Path(os.environ["CHAOS_FILE"]).unlink(missing_ok=True)
        time.sleep(3600)
    if fault == "oom" and len(pixels) > 2:
        import tensorflow as tf

        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    if (pixels == MAGENTA).all(axis=(1, 2, 3)).any():
        raise ValueError("this model can't bear magenta")
    return _run(self, pixels, size)


def decode(data: bytes, *arguments: Any) -> Any:
    """The worker's, with its faults."""
    if data.endswith(POISON):
        os.kill(os.getpid(), signal.SIGSEGV)
    if switched() == "hang decoder":
        Path(os.environ["CHAOS_FILE"]).unlink(missing_ok=True)
        time.sleep(3600)
    return _decode(data, *arguments)


def wrong_time() -> float:
    """The time, as a clock that was set wrong tells it. libfaketime breaks Python's `sleep`."""
    clock = os.environ.get("CHAOS_CLOCK")
    return _time() + (float(Path(clock).read_text() or 0) if clock else 0.0)


class WrongDatetime(datetime.datetime):
    """What writes the times in Redis, by that clock."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "WrongDatetime":
        """The time that the clock tells."""
        return cls.fromtimestamp(wrong_time(), tz)


if __name__ == "__main__":
    time.time = wrong_time
    datetime.datetime = shared.queue.wire.datetime = WrongDatetime  # type: ignore[assignment, misc]
    Engine.run_size = run  # type: ignore[method-assign]
    worker.fetch_stage.decode = decode
    sys.exit(program.main())
