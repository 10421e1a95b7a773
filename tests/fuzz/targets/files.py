"""Writes each case to a file, for the harnesses of file parsers."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def written(data: bytes) -> Path:
    """Write the data to the file; return its path."""
    path = _FOLDER / "input"
    path.write_bytes(data)
    return path
