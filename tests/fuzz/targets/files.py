"""A file that is written anew for each case, for the harnesses of files."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def written(data: bytes) -> Path:
    """The file, with these bytes."""
    path = _FOLDER / "input"
    path.write_bytes(data)
    return path
