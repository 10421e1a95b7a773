"""A stand-in for NVIDIA's driver, with which TensorFlow finds a graphics card on any Linux machine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
COMPILER = shutil.which("gcc") or shutil.which("cc")

SEARCH = """
import dataclasses, logging
from shared.settings import Settings
from worker.devices import find_device
from worker.model_allowlist import ModelError
logging.basicConfig(level="INFO", format="%(message)s")
try:
    print(find_device(Settings.from_environ()))
except ModelError as error:
    print("refused:", error)
"""
"""A program that finds the device, and prints the device or the refusal."""


def build(source: Path, library: Path) -> None:
    """Compile a C file to a shared library, whose SONAME is the name of its file."""
    name = f"-Wl,-soname,{library.name}"
    subprocess.run([str(COMPILER), "-shared", "-fPIC", name, "-o", library, source], check=True)


def build_driver(folder: Path) -> None:
    """Build the driver's libraries in a folder for LD_LIBRARY_PATH."""
    build(SOURCE, folder / "libcuda.so.1")
    (folder / "libnvidia-ml.so.1").symlink_to("libcuda.so.1")


def search(driver: Path, python: str = sys.executable, **environ: str) -> str:
    """Find the device in another process with the stub driver; return what the process prints and logs."""
    root = str(Path(__file__).parent.parent)
    environment = os.environ | {"LD_LIBRARY_PATH": str(driver), "PYTHONPATH": root} | environ
    done = subprocess.run(
        [python, "-c", SEARCH], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    return done.stdout + done.stderr
