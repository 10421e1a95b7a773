"""Finds the photos that a caller specifies as files or as a folder."""

import logging
import mimetypes
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from classification_client.results import Source

_TYPES = mimetypes.MimeTypes()
"""Python's built-in list of MIME types by file extension.

The operating system's list is not used, because it may be wrong."""


logger = logging.getLogger(__name__)


def photos(sources: Source | Iterable[Source]) -> Iterator[Source]:
    """Yield the photos in `sources`; if `sources` is a folder, yield the photos in this folder.

    A warning in the log has the numbers of the folder's other files.
    """
    if isinstance(sources, bytes):
        yield sources
    elif not isinstance(sources, str | Path):
        yield from sources
    elif Path(sources).is_dir():
        others = Counter[str]()
        yield from files(Path(sources), others)
        if others:
            logger.warning("%s: files that are no photos left out: %s", sources, listed(others))
    else:
        yield sources


def listed(others: Counter[str]) -> str:
    """Return the numbers of other files by their extensions as a text, such as `3 .json, 1 .md`."""
    return ", ".join(f"{number} {name or 'without extension'}" for name, number in others.most_common())


def files(folder: Path, others: Counter[str] | None = None) -> Iterator[Path]:
    """Yield all possible photos in a folder and its subfolders, sorted by name.

    Hidden files are skipped. Files with the extension of another file type, such as `.json` or `.mp4`, are
    left out. Files with an unknown extension are left out if their first bytes do not show an image. `others`
    counts the files that are left out, by extension. If a folder cannot be opened, the function yields the
    folder's path.
    """
    # `Path.rglob` would yield unsorted files. Links to folders are not followed, because a link may
    # lead back to a parent folder.
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda each: each.name)
    except OSError:
        yield folder  # Reading this path as a photo raises the error for the caller.
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from files(Path(entry.path), others)
        elif entry.is_file():
            if _may_be_photo(Path(entry.path)):
                yield Path(entry.path)
            elif others is not None:
                others[Path(entry.name).suffix.lower()] += 1


def _may_be_photo(path: Path) -> bool:
    kind, _ = _TYPES.guess_type(path.name)
    return _begins_as_image(path) if kind is None else kind.startswith("image/")


def _begins_as_image(path: Path) -> bool:
    # The client needs no other module of the server. This import is not needed for single photos.
    from shared.file_types import HEAD_BYTES, file_type

    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return True  # Reading this path as a photo raises the error for the caller.
    return not head or file_type(head).is_image
