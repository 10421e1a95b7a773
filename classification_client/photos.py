"""The photos that a caller means."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from classification_client.results import Source


def photos(sources: Source | Iterable[Source]) -> Iterator[Source]:
    """The sources themselves; of a folder, the files in and below it, in order, except hidden ones."""
    if isinstance(sources, bytes):
        yield sources
    elif not isinstance(sources, str | Path):
        yield from sources
    elif Path(sources).is_dir():
        yield from files(Path(sources))
    else:
        yield sources


def files(folder: Path) -> Iterator[Path]:
    """The files in and below a folder, in order, except hidden ones; and what of it can't be looked into."""
    # Not Path.rglob, which has no order. A link to a folder is not followed: it may lead around.
    try:
        with os.scandir(folder) as found:
            entries = [each for each in found if not each.name.startswith(".")]
    except OSError:
        yield folder  # reading it will tell why
        return
    for entry in sorted(entries, key=lambda each: each.name):
        if entry.is_dir(follow_symlinks=False):
            yield from files(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)
