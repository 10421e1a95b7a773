"""The look into a model file, in a process of its own.

On some damaged files the HDF5 library crashes or never comes back. Then that process does, within bounds of
processor time and memory, and the worker can say so.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from worker.model_allowlist import Inspection, ModelError, inspect_model

CPU_SECONDS = 120
"""For a file of some gigabytes, most of it for the SHA-256."""

_MEMORY_BYTES = 8 * 2**30
_ROOT = Path(__file__).parent.parent


def inspect_in_subprocess(path: Path, seconds: int = CPU_SECONDS) -> Inspection:
    """Say what is in a model file, as `inspect` does, with `seconds` of processor time for it.

    Raises:
        ModelError: as `inspect`, or reading the file breaks the process that does.
    """
    # The packages are found as here, and nothing of the current folder's in their place.
    environ = os.environ | {"PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "worker.inspection_process", str(path), str(seconds)]
    done = subprocess.run(command, env=environ, capture_output=True, check=False)  # noqa: S603 (our own)
    if done.returncode:
        raise ModelError(
            f"{path} can't be read: {_end(done.returncode)}; the file is damaged, or made to harm"
        )
    told = json.loads(done.stdout)
    if "error" in told:
        raise ModelError(told["error"])
    return Inspection(**told | {"layers": tuple(told["layers"])})


def _end(status: int) -> str:
    if status == -signal.SIGXCPU:
        return "reading it does not end"
    name = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"the process that read it ended with {name}"


def _main() -> None:
    path, seconds = Path(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        told = asdict(inspect_model(path))
    except ModelError as error:
        told = {"error": str(error)}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    _main()
