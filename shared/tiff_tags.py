"""Reads the tags of a TIFF image or an EXIF block without decoding their values."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

MAX_TAGS = 100_000
"""Maximum number of tags that are read; Pillow reads no more than its own limit of reads allows."""

TRUNCATED = (struct.error, OverflowError)
"""What `tags` raises where the data ends too early."""

BYTE_TYPES = (1, 2, 6, 7)
"""Tag types whose values stay bytes. Each value of another type becomes a Python object."""

_SHORT, _LONG = 3, 4
_BIG_TIFF = 43


class Tag(NamedTuple):
    """A tag: how many values it has, and the first value where its type is SHORT or LONG (otherwise 0)."""

    id: int
    type: int
    values: int
    first: int


def tags(data: bytes) -> Iterator[Tag]:
    """Yield the tags of a TIFF's first directory. An EXIF block is a TIFF without pixels.

    Raises:
        struct.error, OverflowError: the data ends before its tags do.
    """
    order = "<" if data.startswith(b"II") else ">"
    (version,) = struct.unpack_from(order + "H", data, 2)
    start, count, entry = ("8xQ", "Q", "HHQ8s") if version == _BIG_TIFF else ("4xI", "H", "HHI4s")
    (position,) = struct.unpack_from(order + start, data)
    (entries,) = struct.unpack_from(order + count, data, position)
    position += struct.calcsize(count)
    for _ in range(min(entries, MAX_TAGS)):
        tag, kind, values, field = struct.unpack_from(order + entry, data, position)
        form = {_SHORT: "H", _LONG: "I"}.get(kind)
        yield Tag(tag, kind, values, struct.unpack_from(order + form, field)[0] if form else 0)
        position += struct.calcsize("=" + entry)
