"""The photos that a caller means."""

import mimetypes
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from classification_client.results import Source

_ENDINGS = mimetypes.MimeTypes()
"""Python's own list: that of a machine may say anything."""


def photos(sources: Source | Iterable[Source]) -> Iterator[Source]:
    """The sources themselves; of a folder, its `files`."""
    if isinstance(sources, bytes):
        yield sources
    elif not isinstance(sources, str | Path):
        yield from sources
    elif Path(sources).is_dir():
        yield from files(Path(sources))
    else:
        yield sources


def files(folder: Path, left_out: Counter[str] | None = None) -> Iterator[Path]:
    """The files in and below a folder that may be photos, in order; and what of it can't be looked into.

    Hidden ones are not, nor those that are something else by their ending, as `.json` and `.mp4`; these are
    counted in `left_out`, by ending. A file whose ending says nothing may be a photo.
    """
    # Not Path.rglob, which has no order. A link to a folder is not followed: it may lead around.
    try:
        with os.scandir(folder) as found:
            entries = [each for each in found if not each.name.startswith(".")]
    except OSError:
        yield folder  # reading it will tell why
        return
    for entry in sorted(entries, key=lambda each: each.name):
        if entry.is_dir(follow_symlinks=False):
            yield from files(Path(entry.path), left_out)
        elif entry.is_file():
            if _is_other(entry.name):
                if left_out is not None:
                    left_out[Path(entry.name).suffix.lower()] += 1
            else:
                yield Path(entry.path)


def _is_other(name: str) -> bool:
    kind, _ = _ENDINGS.guess_type(name)
    return kind is not None and not kind.startswith("image/")
