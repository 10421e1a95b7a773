"""Keeps XLA's compilations of a model in a folder, so that the next start of a worker is faster.

If a file of XLA is damaged or can't be written, TensorFlow fails to run the model. A file is damaged, for
example, if a worker was killed while writing it. Therefore, a worker lists its files in a manifest after its
warm-up. Before XLA reads the folder, the next worker removes all files that are not as the manifest says.
"""

import json
import logging
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from shared.settings import Settings

logger = logging.getLogger(__name__)

MANIFEST, UNFINISHED = "manifest.json", "unfinished"

MIN_FREE_FACTOR = 20
"""Minimum free space on the folder's disk, as a multiple of the model file's size.

For each compiled size, XLA writes a file of about twice the model file's size."""

MAX_UNUSED_SECONDS = 30 * 86_400
"""Maximum time for which the compilations of a model are kept without use, in seconds."""


MAX_UNFINISHED_STARTS = 2
"""Maximum number of starts in a row that may end during the warm-up, before the batch is halved.

On a GPU, a lack of memory can end the process. The next start would then fail in the same way."""


@dataclass(frozen=True)
class CompilationCache:
    """A model's folder of compilations.

    `halvings` is how often INPUT_BATCH must be halved, because earlier starts ended during the warm-up.
    """

    folder: Path
    halvings: int = 0

    def seal(self) -> None:
        """List the folder's files in its manifest. Call this method when XLA has written all files."""
        sizes = {each.name: each.stat().st_size for each in self.folder.glob("*.pb")}
        try:
            _write(self.folder / MANIFEST, json.dumps(sizes))
            (self.folder / UNFINISHED).unlink(missing_ok=True)
        except OSError as error:
            logger.warning("INFERENCE_CACHE_DIR: %s can't be written: %s", self.folder, error)


def open_cache(settings: Settings, fingerprint: str) -> CompilationCache | None:
    """Let XLA keep its compilations in a folder.

    Each model, precision and version of TensorFlow has its own folder. Returns None if no folder can be used.
    Call this function before TensorFlow lists its devices: TensorFlow then reads its options.
    """
    import tensorflow as tf

    root = settings.cache_dir or _default_folder()
    folder = root / f"{fingerprint[:16]}-{settings.precision}-{tf.__version__}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unlisted(folder)
        _remove_unused(root)
        unfinished = _count_start(folder)
        needed = MIN_FREE_FACTOR * _size(settings.model)
        if (free := shutil.disk_usage(folder).free) < needed:
            raise OSError(f"{free >> 20} MiB are free, {needed >> 20} MiB are needed")
    except OSError as error:
        logger.warning(
            "INFERENCE_CACHE_DIR: %s can't be used: %s; every start compiles the model", folder, error
        )
        return None
    if halvings := max(unfinished - MAX_UNFINISHED_STARTS + 1, 0):
        logger.error(
            "the last %d starts ended during the warm-up: INPUT_BATCH is halved %d times",
            unfinished,
            halvings,
        )
    flags = os.environ.get("TF_XLA_FLAGS", "")
    os.environ["TF_XLA_FLAGS"] = f"{flags} --tf_xla_persistent_cache_directory={folder}".strip()
    return CompilationCache(folder, halvings)


def _count_start(folder: Path) -> int:
    """Return how many starts in a row have not finished, and count this start."""
    try:
        unfinished = int((folder / UNFINISHED).read_text())
    except (FileNotFoundError, ValueError):
        unfinished = 0
    _write(folder / UNFINISHED, str(unfinished + 1))
    (folder / MANIFEST).touch()  # shows when the folder was last used
    return unfinished


def _write(path: Path, text: str) -> None:
    made = path.with_name(f"{path.name}.{os.getpid()}")
    made.write_text(text)
    made.replace(path)


def _default_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "classification-server" / "xla"


def _remove_unlisted(folder: Path) -> None:
    try:
        listed = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        listed = {}
    for each in folder.iterdir():
        if each.name not in (MANIFEST, UNFINISHED) and listed.get(each.name) != each.stat().st_size:
            each.unlink(missing_ok=True)


def _remove_unused(root: Path) -> None:
    """Remove the folders of models that have not been used for a long time."""
    for manifest in root.glob(f"*/{MANIFEST}"):
        if time.time() - manifest.stat().st_mtime > MAX_UNUSED_SECONDS:
            shutil.rmtree(manifest.parent, ignore_errors=True)


def _size(model: Path) -> int:
    files = model.rglob("*") if model.is_dir() else [model]
    return sum(each.stat().st_size for each in files if each.is_file())
