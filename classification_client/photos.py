"""The photos in the arguments of a call, and in a folder."""

import mimetypes
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from classification_client.results import Source

_TYPES = mimetypes.MimeTypes()
"""Python's own list of types by extension, because a machine's list may have anything."""


def photos(sources: Source | Iterable[Source]) -> Iterator[Source]:
    """Yield the photos; for a folder, its `files`."""
    if isinstance(sources, bytes):
        yield sources
    elif not isinstance(sources, str | Path):
        yield from sources
    elif Path(sources).is_dir():
        yield from files(Path(sources))
    else:
        yield sources


def files(folder: Path, skipped: Counter[str] | None = None) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders that may be photos, in order.

    Hidden files are skipped, and so are files with the extension of another type, such as `.json` and `.mp4`,
    which `skipped` counts by extension. A folder that cannot be opened is yielded itself.
    """
    # Path.rglob has no order. Links to folders are not followed, because they may form a circle.
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda each: each.name)
    except OSError:
        yield folder  # Reading it then raises the error.
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
