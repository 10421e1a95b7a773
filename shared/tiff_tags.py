"""Reads the tags of a TIFF image or an EXIF block without decoding their values."""

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

MAX_TAGS = 100_000
"""Maximum number of TIFF tags that are read from one file.

Pillow needs at least one read call for each tag. The number of read calls is limited to
`shared.image_header.MAX_READS`."""

MAX_DIRECTORIES, MAX_LATER_TAGS = 64, 1000
"""Maximum number of directories after the first directory, and of tags in each of these directories."""

TRUNCATED = (struct.error, OverflowError)
"""The exceptions that the functions of this module raise if the data is truncated."""

BYTE_TYPES = (1, 2, 6, 7)
"""TIFF tag types whose values Pillow reads as one bytes object.

For any other type, Pillow creates one Python object for each value."""

SUB_DIRECTORIES = 330
_NUMBERS = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""The tag types SHORT, LONG, IFD, LONG8 and IFD8, with the format of a value."""

_BIG_TIFF = 43


class Tag(NamedTuple):
    """A TIFF tag.

    `values` is the number of the tag's values. `first` is the first value of a tag of whole numbers. For
    any other type, or if the file does not contain the values, `first` is 0. `at` is the position of the
    values in the file.
    """

    id: int
    type: int
    values: int
    first: int
    at: int


class _Layout:
    """The byte order of the numbers in a TIFF file, and whether it is a BigTIFF file."""

    def __init__(self, data: bytes) -> None:
        self.data, self.order = data, "<" if data.startswith(b"II") else ">"
        (version,) = self.unpack("H", 2)
        is_big = version == _BIG_TIFF
        self.count, self.entry, self.offset = ("Q", "HHQ8x", "Q") if is_big else ("H", "HHI4x", "I")
        self.start = 8 if is_big else 4

    def unpack(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + form, self.data, at)

    def size(self, form: str) -> int:
        return struct.calcsize("=" + form)

    def tag(self, at: int) -> Tag:
        tag, kind, values = self.unpack(self.entry, at)
        form = _NUMBERS.get(kind)
        if form is None:
            return Tag(tag, kind, values, 0, 0)
        place = at + self.size(self.entry) - self.size(self.offset)
        try:
            if values * self.size(form) > self.size(self.offset):
                (place,) = self.unpack(self.offset, place)
            return Tag(tag, kind, values, self.unpack(form, place)[0], place)
        except TRUNCATED:
            return Tag(tag, kind, values, 0, 0)

    def tags(self, directory: int, maximum: int) -> Iterator[Tag]:
        (entries,) = self.unpack(self.count, directory)
        position = directory + self.size(self.count)
        for number in range(min(entries, maximum)):
            yield self.tag(position + number * self.size(self.entry))

    def next(self, directory: int) -> int:
        """Return the position of the directory that follows a directory, or 0."""
        (entries,) = self.unpack(self.count, directory)
        return self.unpack(self.offset, directory + self.size(self.count) + entries * self.size(self.entry))[
            0
        ]


def tags(data: bytes) -> Iterator[Tag]:
    """Yield the tags in the first directory of a TIFF image or an EXIF block.

    An EXIF block has the same format as a TIFF image.

    Raises:
        struct.error, OverflowError: the data ends before the last tag.
    """
    layout = _Layout(data)
    yield from layout.tags(layout.unpack(layout.offset, layout.start)[0], MAX_TAGS)


def later_directories(data: bytes) -> Iterator[tuple[bool, dict[int, Tag]]]:
    """Yield the tags of each directory after the first one, by their ids.

    The first member of each pair is whether the directory belongs to another directory's picture, as its
    SubIFD. Directories behind the file's end are left out.

    Raises:
        struct.error, OverflowError: the data has no first directory.
    """
    layout = _Layout(data)
    (first,) = layout.unpack(layout.offset, layout.start)
    seen, waiting = {0}, [(False, first)]
    while waiting and len(seen) <= MAX_DIRECTORIES:
        is_part, place = waiting.pop(0)
        if place not in seen:
            seen.add(place)
            with suppress(*TRUNCATED):
                found = {each.id: each for each in layout.tags(place, MAX_LATER_TAGS)}
                if place != first:
                    yield is_part, found
                waiting += [*_parts(layout, found), (is_part, layout.next(place))]


def _parts(layout: _Layout, directory: dict[int, Tag]) -> list[tuple[bool, int]]:
    """Return the positions of a directory's SubIFDs, each with the value True."""
    tag = directory.get(SUB_DIRECTORIES)
    if not tag or not tag.at:
        return []
    form = f"{min(tag.values, MAX_DIRECTORIES)}{_NUMBERS[tag.type]}"
    return [(True, each) for each in layout.unpack(form, tag.at)]
