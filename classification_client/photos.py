"""Finds the photos in the arguments of a call and in folders."""

import mimetypes
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from classification_client.results import Source

_TYPES = mimetypes.MimeTypes()
"""Python's own list of MIME types by file extension, because a machine's list may be wrong."""


def photos(sources: Source | Iterable[Source]) -> Iterator[Source]:
    """Yield the photos in `sources`; if `sources` is a folder, yield its `files`."""
    if isinstance(sources, bytes):
        yield sources
    elif not isinstance(sources, str | Path):
        yield from sources
    elif Path(sources).is_dir():
        yield from files(Path(sources))
    else:
        yield sources


def files(folder: Path, skipped: Counter[str] | None = None) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders that may be photos, sorted by name.

    Hidden files are skipped. Files with the extension of another type, such as `.json` and `.mp4`, are
    skipped too, and `skipped` counts them by extension. A folder that cannot be opened is itself yielded.
    """
    # `Path.rglob` would yield unsorted files. Links to folders are not followed, because they may form a
    # circle.
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda each: each.name)
    except OSError:
        yield folder  # The caller gets the error when it tries to read the folder.
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
