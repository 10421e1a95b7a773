"""Inspects a model file in a separate process with limited processor time and memory.

On some damaged files, the HDF5 library crashes or never returns. If this happens, only the separate process
ends, and the worker can report the damaged file.
"""

import json
import resource
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from shared.own_module import module_command, module_environ
from worker.model_allowlist import Inspection, ModelError, inspect_model

MAX_CPU_SECONDS = 120
"""Maximum processor time of an inspection, in seconds.

This time is enough to compute the SHA-256 hash of a file of several gigabytes."""

_MAX_MEMORY_BYTES = 8 * 2**30


def inspect_in_subprocess(path: Path, seconds: int = MAX_CPU_SECONDS) -> Inspection:
    """Call `inspect_model` in a separate process that may use `seconds` of processor time.

    Raises:
        ModelError: the file fails the inspection, or the inspecting process crashes or exceeds its limits.
    """
    environ = module_environ() | {"OPENBLAS_NUM_THREADS": "1"}
    command = module_command("worker.inspection_process", str(path), str(seconds))
    done = subprocess.run(command, env=environ, capture_output=True, check=False)  # noqa: S603 (our own module)
    if done.returncode:
        raise ModelError(
            f"{path} can't be read: {_reason(done.returncode)}. The file is damaged or malicious."
        )
    found = json.loads(done.stdout)
    if "error" in found:
        raise ModelError(found["error"])
    shape = found["input_shape"]
    return Inspection(**found | {"layers": tuple(found["layers"]), "input_shape": shape and tuple(shape)})


def _reason(status: int) -> str:
    if status == -signal.SIGXCPU:
        return "reading the file takes too long"
    name = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"the process that read the file ended with {name}"


def _main() -> None:
    path, seconds = Path(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        found = asdict(inspect_model(path))
    except ModelError as error:
        found = {"error": str(error)}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    _main()
