"""Tries the GPU in a separate process, so that a broken driver or library cannot end the worker.

The process prints one line of JSON after each stage. If the process crashes or hangs, the last line shows the
stage that failed.
"""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from shared.own_module import module_command, module_environ
from worker.cuda_driver import Card, list_cards, preload_cuda_libraries
from worker.gpu_memory import limit_gpu_memory

MAX_SECONDS = 300.0
"""Maximum duration of the probe in seconds.

On a new kind of card, the driver first compiles TensorFlow's functions, which takes minutes."""

STAGES = ("driver", "tensorflow", "run", "xla")
"""The driver lists the cards; TensorFlow finds a card, runs an operation on it, and runs the operation again
after XLA has compiled it."""

_COMMAND = tuple(module_command("worker.gpu_probe"))
_LOG_LEVEL = {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": "dso_loader=1"}
"""With these variables, TensorFlow logs the name of each library that TensorFlow cannot load."""

_MISSING = re.compile(r"Could not load dynamic library '([^']+)'")
_LOG_PREFIX = re.compile(r"^[IWEF]\d{4} \S+\s+\d+ \S+\] ")


@dataclass(frozen=True)
class Probe:
    """The results of the stages.

    - `cards`: the cards that the driver lists.
    - `cuda`: whether the installed TensorFlow supports GPUs; None if the import of TensorFlow failed.
    - `gpu`: the name of TensorFlow's first GPU; '' if TensorFlow finds no GPU.
    - `missing`: the libraries that TensorFlow could not load.
    - `passed`: the successful stages.
    - `reason`: the cause of the first failure.
    """

    cards: tuple[Card, ...] = ()
    cuda: bool | None = None
    gpu: str = ""
    missing: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    reason: str = ""


@lru_cache(maxsize=1)  # The result holds for the whole process, and the probe takes seconds.
def probe_gpu(memory: int | None, seconds: float = MAX_SECONDS, command: Sequence[str] = _COMMAND) -> Probe:
    """Try the GPU in a separate process. `memory` is the maximum GPU memory in MiB."""
    try:
        done = subprocess.run(  # noqa: S603 (our own module)
            [*command, str(memory or 0)],
            env=module_environ() | _LOG_LEVEL,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=seconds,
        )
        output, log, end = done.stdout, done.stderr, _end(done.returncode)
    except subprocess.TimeoutExpired as error:
        output, log, end = error.stdout or b"", error.stderr or b"", f"no result within {seconds:g} s"
    return _read(output.decode(errors="replace"), log.decode(errors="replace"), end)


def _end(status: int) -> str:
    """Describe the exit status of a process that ended too early."""
    if status == 0:
        return ""
    return f"the process ended with {signal.Signals(-status).name if status < 0 else f'status {status}'}"


def _read(output: str, log: str, end: str) -> Probe:
    found: dict[str, Any] = {}
    for line in output.splitlines():
        with suppress(ValueError):  # Libraries may also print to standard output.
            found |= json.loads(line)
    passed = tuple(stage for stage in STAGES if found.pop(stage, False))
    if end or (found.get("cuda") and "tensorflow" not in passed):
        found.setdefault("reason", ": ".join(filter(None, (end, next(_log_lines(log), "")))))
    found["reason"] = found.get("reason", "").rstrip(".")
    cards = tuple(Card(**each) for each in found.pop("cards", ()))
    return Probe(cards=cards, missing=tuple(dict.fromkeys(_MISSING.findall(log))), passed=passed, **found)


def _log_lines(log: str) -> Iterator[str]:
    """Yield the errors and warnings in TensorFlow's log, beginning with the last."""
    for line in reversed(log.splitlines()):
        if line[:1] in ("W", "E", "F") and (prefix := _LOG_PREFIX.match(line)):
            yield " ".join(line[prefix.end() :].split())[:300]


# ---------------------------------------------------------------- the separate process


def _main() -> None:
    try:
        for result in _stages(int(sys.argv[1])):
            print(json.dumps(result), flush=True)
    except Exception as error:  # TensorFlow raises exceptions of many types.
        print(json.dumps({"reason": " ".join(str(error).split())[:300]}), flush=True)


def _stages(memory: int) -> Iterator[dict[str, Any]]:
    """Yield the results of each stage, up to the first stage without a GPU."""
    cards = list_cards()
    yield {"driver": True, "cards": [asdict(card) for card in cards]}
    if not cards:
        return
    preload_cuda_libraries()
    import tensorflow as tf

    yield {"cuda": tf.test.is_built_with_cuda()}
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return
    yield {"tensorflow": True, "gpu": tf.config.experimental.get_device_details(gpus[0])["device_name"]}
    limit_gpu_memory(memory or None)
    try_operation("GPU:0", xla=False)
    yield {"run": True}
    try_operation("GPU:0", xla=True)
    yield {"xla": True}


def try_operation(device: str, *, xla: bool) -> None:
    """Run a convolution and a matrix product on a device of TensorFlow, such as 'GPU:0'.

    Raises:
        Exception: the device fails or computes a wrong result.
    """
    import tensorflow as tf

    def operation(pixels: Any, kernel: Any, weights: Any) -> Any:
        return tf.reshape(tf.nn.conv2d(pixels, kernel, 1, "VALID"), [8, -1]) @ weights

    with tf.device(device):
        values = tf.ones([8, 5, 5, 3]), tf.ones([3, 3, 3, 4]), tf.ones([36, 2])
        result = tf.function(operation, jit_compile=xla)(*values)
    # TensorFlow silently uses another device if a device is missing.
    if not result.backing_device.endswith(device):
        raise RuntimeError(f"TensorFlow used {result.backing_device} instead of {device}")
    if not (result.numpy() == 27 * 36).all():
        raise ArithmeticError(f"the result is {result.numpy().flat[0]:g} instead of {27 * 36}")


if __name__ == "__main__":
    _main()
