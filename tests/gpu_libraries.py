"""`python -m tests.gpu_libraries`: checks that the GPU images have the libraries that TensorFlow needs.

The check needs no GPU, but gcc and binutils. It installs the packages of both GPU images as their Dockerfiles
do. This downloads 2.6 GB and needs 6 GB of disk space. Then it runs the worker's search for a GPU with a
stand-in for NVIDIA's driver. In this search, TensorFlow must find all libraries and list the card.
"""

import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from tests.cuda_stub import build_driver, search

ROOT = Path(__file__).parent.parent
IMAGES = {"Dockerfile.worker": "gpu.lock", "Dockerfile": "serve-gpu.lock"}
"""The lock file of each Dockerfile's GPU image."""

FOUND = "refused: INFERENCE_DEVICE: Stub 9000 found, but a small operation fails on it: "
"""The result of the search if TensorFlow lists the card: the stand-in cannot run an operation."""

HIDDEN = "cufft/lib/libcufft.so.11"
"""A library without which the check must fail."""


def main() -> int:
    """Check both images; return the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_driver(folder)
        environment = folder / "venv"
        venv.create(environment, symlinks=True)
        # The packages of the second image are the packages of the first image and further packages.
        return max(_check(dockerfile, lock, environment, folder) for dockerfile, lock in IMAGES.items())


def _check(dockerfile: str, lock: str, environment: Path, driver: Path) -> int:
    start = time.monotonic()
    _install(lock, environment)
    (packages,) = environment.glob("lib/python3*/site-packages")
    problems = _problems(environment, packages / "nvidia", driver)
    size = sum(each.lstat().st_size for each in environment.rglob("*")) / 2**30
    text = "; ".join(problems) or "TensorFlow finds all libraries"
    print(f"{dockerfile} ({lock}, {size:.1f} GiB, {time.monotonic() - start:.0f} s): {text}", flush=True)
    return 1 if problems else 0


def _install(lock: str, environment: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", environment / "bin/python"]
    options = ["--quiet", "--no-cache-dir", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    requirements = ["--requirement", ROOT / "requirements" / lock]
    subprocess.run([*pip, "install", *options, *requirements], check=True)
    subprocess.run(["sh", ROOT / "deploy/slim.sh", environment], check=True)


def _problems(environment: Path, nvidia: Path, driver: Path) -> list[str]:
    problems = []
    python = str(environment / "bin/python")
    if not (found := search(driver, python)).startswith(FOUND):
        problems.append(found)
    # XLA compiles for the card with these files.
    compiler = nvidia / "cuda_nvcc"
    subprocess.run([compiler / "bin/ptxas", "--version"], check=True, stdout=subprocess.DEVNULL)
    if not (compiler / "nvvm/libdevice/libdevice.10.bc").exists():
        problems.append("libdevice.10.bc is missing")
    hidden = nvidia / HIDDEN
    hidden.rename(hidden.with_suffix(".hidden"))
    if f"TensorFlow cannot load {hidden.name}. " not in (found := search(driver, python)):
        problems.append(f"expected that {hidden.name} is missing, got: {found}")
    hidden.with_suffix(".hidden").rename(hidden)
    return problems


if __name__ == "__main__":
    if missing := [each for each in ("gcc", "strip") if shutil.which(each) is None]:
        sys.exit(
            f"gpu_libraries: install {' and '.join(missing)} (Debian and Ubuntu: apt install gcc binutils)"
        )
    sys.exit(main())
