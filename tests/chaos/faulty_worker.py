"""A worker with faults that tests switch on: `python -m tests.chaos.faulty_worker`.

CHAOS_FILE is the path of a file with the name of the fault: "hang" (once, in the model), "hang decoder"
(once), "lost" (once: the model's device is lost) or "oom" (for more than two inputs at once). CHAOS_PAUSE is
the extra time of each run of the model, in seconds. CHAOS_CLOCK is the path of a file with the seconds by
which the worker's clock is wrong. On a magenta image the model raises. An image with POISON after its data
kills the process that decodes it.
"""

import contextlib
import dataclasses
import datetime
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import shared.queue.wire
import worker.decode
import worker.decoders
from shared.settings import Settings
from worker import __main__ as program
from worker.engine import Engine
from worker.pipeline import Service

POISON = b"POISON"
MAGENTA = (255, 0, 255)

_run, _decode, _time, _load = Engine.run_size, worker.decode.decode, time.time, program._load


class DeviceLost(Exception):
    """Stands for an error of CUDA that stays."""


def switched() -> str:
    """Return the fault that is switched on, or an empty string."""
    with contextlib.suppress(FileNotFoundError):
        return Path(os.environ["CHAOS_FILE"]).read_text()
    return ""


def run(self: Engine, pixels: Any, size: int) -> Any:
    """Run the model as the engine does, with the faults of the model."""
    time.sleep(float(os.environ.get("CHAOS_PAUSE", "0")))
    fault = switched()
    if fault == "hang":
        Path(os.environ["CHAOS_FILE"]).unlink(missing_ok=True)
        time.sleep(3600)
    if fault == "lost":
        Path(os.environ["CHAOS_FILE"]).unlink(missing_ok=True)
        raise DeviceLost("Xid 79: GPU has fallen off the bus")
    if fault == "oom" and len(pixels) > 2:
        import tensorflow as tf

        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    if (pixels == MAGENTA).all(axis=(1, 2, 3)).any():
        raise ValueError("magenta image")
    return _run(self, pixels, size)


def load(settings: Settings) -> Service:
    """Load the model as the worker does, and recognize the loss of its device."""
    return dataclasses.replace(_load(settings), is_device_lost=lambda error: isinstance(error, DeviceLost))


def decode(data: bytes, *arguments: Any) -> Any:
    """Decode as the worker does, with the faults of the decoder."""
    if data.endswith(POISON):
        os.kill(os.getpid(), signal.SIGSEGV)
    if switched() == "hang decoder":
        Path(os.environ["CHAOS_FILE"]).unlink(missing_ok=True)
        time.sleep(3600)
    return _decode(data, *arguments)


def wrong_time() -> float:
    """Return the time of a wrong clock. (libfaketime is no alternative, because it breaks `sleep`.)"""
    clock = os.environ.get("CHAOS_CLOCK")
    return _time() + (float(Path(clock).read_text() or 0) if clock else 0.0)


class WrongDatetime(datetime.datetime):
    """The class that writes the times in Redis, by the wrong clock."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "WrongDatetime":
        """Return the time of the wrong clock."""
        return cls.fromtimestamp(wrong_time(), tz)


if __name__ == "__main__":
    time.time = wrong_time
    datetime.datetime = shared.queue.wire.datetime = WrongDatetime  # type: ignore[assignment, misc]
    Engine.run_size = run  # type: ignore[method-assign]
    worker.decode.decode, program._load = decode, load
    worker.decoders.MIN_CORES_FOR_PROCESSES = (
        sys.maxsize
    )  # Other processes would decode without these faults.
    sys.exit(program.main())
