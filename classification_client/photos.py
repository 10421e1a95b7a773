"""Finds the photos that a caller specifies as files or as a folder."""

import mimetypes
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from classification_client.results import Source

_TYPES = mimetypes.MimeTypes()
"""Python's built-in list of MIME types by file extension.

The operating system's list is not used, because it may be wrong."""


def photos(sources: Source | Iterable[Source]) -> Iterator[Source]:
    """Yield the photos in `sources`; if `sources` is a folder, yield the photos in this folder."""
    if isinstance(sources, bytes):
        yield sources
    elif not isinstance(sources, str | Path):
        yield from sources
    elif Path(sources).is_dir():
        yield from files(Path(sources))
    else:
        yield sources


def files(folder: Path, skipped: Counter[str] | None = None) -> Iterator[Path]:
    """Yield all possible photos in a folder and its subfolders, sorted by name.

    Hidden files are skipped. Files with the extension of another file type, such as `.json` or `.mp4`, are
    skipped too; `skipped` counts these files by extension. If a folder cannot be opened, the function yields
    the folder's path.
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
            yield from files(Path(entry.path), skipped)
        elif entry.is_file():
            if _may_be_photo(entry.name):
                yield Path(entry.path)
            elif skipped is not None:
                skipped[Path(entry.name).suffix.lower()] += 1


def _may_be_photo(name: str) -> bool:
    kind, _ = _TYPES.guess_type(name)
    return kind is None or kind.startswith("image/")
