"""Reads the tags of a TIFF image or an EXIF block without decoding their values."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

MAX_TAGS = 100_000
"""Maximum number of TIFF tags that are read from one file.

Pillow needs at least one read call for each tag. The number of read calls is limited to
`shared.image_header.MAX_READS`."""

TRUNCATED = (struct.error, OverflowError)
"""The exceptions that the function `tags` raises if the data is truncated."""

BYTE_TYPES = (1, 2, 6, 7)
"""TIFF tag types whose values Pillow reads as one bytes object.

For any other type, Pillow creates one Python object for each value."""

_SHORT, _LONG = 3, 4
_BIG_TIFF = 43


class Tag(NamedTuple):
    """A TIFF tag.

    `values` is the number of the tag's values. For a tag of type SHORT or LONG, `first` is the first value.
    For any other type, `first` is 0.
    """

    id: int
    type: int
    values: int
    first: int


def tags(data: bytes) -> Iterator[Tag]:
    """Yield the tags in the first directory of a TIFF image or an EXIF block.

    An EXIF block has the same format as a TIFF image.

    Raises:
        struct.error, OverflowError: the data ends before the last tag.
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
