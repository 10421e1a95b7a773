"""Builds TIFF files that Pillow can't write: with planes, 12 or 16 bits, or several directories."""

import struct
import zlib
from collections.abc import Mapping

import numpy as np

WIDTH, HEIGHT, BITS, COMPRESSION, COLORS, SAMPLES, PLANES = 256, 257, 258, 259, 262, 277, 284
OFFSETS, ROWS, SIZES, KIND, SUB_DIRECTORIES, FORMAT = 273, 278, 279, 254, 330, 339
SHORT, LONG = 3, 4


def tiff(
    samples: np.ndarray,
    tags: Mapping[int, int],
    order: str = "<",
    *,
    planes: bool = False,
    deflate: bool = False,
) -> bytes:
    """Return a TIFF with one strip for each plane; `samples` is [height, width, channels]."""
    height, width, channels = samples.shape
    kind = f"{order}{samples.dtype.kind}{samples.dtype.itemsize}"
    parts = [samples[..., n] for n in range(channels)] if planes else [samples]
    strips = [np.ascontiguousarray(part.astype(kind)).tobytes() for part in parts]
    if deflate:
        strips = [zlib.compress(strip) for strip in strips]
    entries: dict[int, tuple[int, ...]] = {
        WIDTH: (width,),
        HEIGHT: (height,),
        BITS: (samples.dtype.itemsize * 8,) * channels,
        COMPRESSION: (8 if deflate else 1,),
        COLORS: (2 if channels > 1 else 1,),
        SAMPLES: (channels,),
        ROWS: (height,),
        PLANES: (2 if planes else 1,),
    }
    entries |= {tag: (value,) * (channels if tag == FORMAT else 1) for tag, value in tags.items()}
    return file_of([(entries, strips)], order)


def file_of(pictures: list[tuple[dict[int, tuple[int, ...]], list[bytes]]], order: str = "<") -> bytes:
    """Return a TIFF of several directories, each with its tags and strips, in a chain."""
    data = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    link = 4
    for entries, strips in pictures:
        link = _append(data, entries, strips, link, order)
    return bytes(data)


def with_part(first: bytes, part: dict[int, tuple[int, ...]]) -> bytes:
    """Return a TIFF (written by `tiff`, little-endian) with a further directory, as its only SubIFD.

    The tag SubIFDs must be in the file, with any value.
    """
    data = bytearray(first)
    link = next(
        at for at in range(len(data)) if data[at : at + 8] == struct.pack("<HHI", SUB_DIRECTORIES, LONG, 1)
    )
    _append(data, part, [], link + 8, "<")
    return bytes(data)


def _append(
    data: bytearray, entries: dict[int, tuple[int, ...]], strips: list[bytes], link: int, order: str
) -> int:
    """Append a directory and its strips; write its position at `link`; return the place of the next link."""
    offsets = []
    for strip in strips:
        offsets.append(len(data))
        data += strip + bytes(len(strip) % 2)
    if strips:
        entries = entries | {OFFSETS: tuple(offsets), SIZES: tuple(map(len, strips))}
    packed = b""
    for tag, values in sorted(entries.items()):
        kind, form = (
            (SHORT, "H") if max(values) < 65536 and tag not in (OFFSETS, SUB_DIRECTORIES) else (LONG, "I")
        )
        field = struct.pack(f"{order}{len(values)}{form}", *values)
        if len(field) > 4:
            place, field = len(data), field + bytes(len(field) % 2)
            data += field
            field = struct.pack(order + "I", place)
        packed += struct.pack(order + "HHI", tag, kind, len(values)) + field.ljust(4, b"\0")
    struct.pack_into(order + "I", data, link, len(data))
    data += struct.pack(order + "H", len(entries)) + packed + bytes(4)
    return len(data) - 4
