"""Reads the sizes of the coded frames of an AVIF image, before the frames are decoded.

An AVIF file has an image's size twice: in its boxes and in the headers of its frames. The decoder allocates
memory for the frames' size, and then scales the frames to the size in the boxes. So a file of 1 KB can name
16×16 pixels and need hundreds of megabytes. The format is described in ISO/IEC 14496-12 and 23008-12, and in
section 5.5 of the AV1 bitstream specification.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

MALFORMED = (struct.error, IndexError, OverflowError)
"""The exceptions that the function `frame_sizes` raises if the data is malformed."""

MAX_PARTS = 10_000
"""Maximum number of boxes, items and units that are read from one file.

An image of a phone or a browser has fewer than 100 parts."""

MAX_HEADER_BYTES = 1024
"""Maximum number of bytes of a sequence header that are read."""

_SEQUENCE_HEADER = 1
_FOLDERS = (b"moov", b"trak", b"mdia", b"minf")


class _Box(NamedTuple):
    kind: bytes
    start: int
    end: int


class _Budget:
    """Counts the parts of a file, so that no file can cause endless work."""

    def __init__(self) -> None:
        self.left = MAX_PARTS

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise IndexError("too many parts")


def frame_sizes(data: bytes) -> list[tuple[int, int]]:
    """Return the maximum width and height of the frames in each coded image of an AVIF file.

    Raises:
        struct.error, IndexError, OverflowError: the file is malformed, or has too many parts.
    """
    budget, sizes = _Budget(), list[tuple[int, int]]()
    for box in _boxes(data, 0, len(data), budget):
        if box.kind == b"meta":
            codes = _items(data, box, budget)
        elif box.kind == b"moov":
            codes = _first_samples(data, box, budget)
        else:
            continue
        for code in codes:
            sizes += _sizes(code, budget)
    return sizes


def _boxes(data: bytes, start: int, end: int, budget: _Budget) -> Iterator[_Box]:
    while start + 8 <= end:
        budget.spend()
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        stop = end if size == 0 else start + size
        if stop > end or stop < start + head:
            raise IndexError("a box ends outside of its place")
        yield _Box(kind, start + head, stop)
        start = stop


def _items(data: bytes, meta: _Box, budget: _Budget) -> Iterator[bytes]:
    """Yield the code of each item of the type AV1."""
    boxes = {box.kind: box for box in _boxes(data, meta.start + 4, meta.end, budget)}
    if not {b"iinf", b"iloc"} <= boxes.keys():
        return
    coded = set(_coded_items(data, boxes[b"iinf"], budget))
    bases = (0, boxes[b"idat"].start if b"idat" in boxes else len(data))
    for item, method, extents in _locations(data, boxes[b"iloc"], budget):
        if item in coded:
            yield b"".join(_part(data, bases[method & 1] + offset, length) for offset, length in extents)


def _part(data: bytes, start: int, length: int) -> bytes:
    return data[start : start + length] if length else data[start:]


def _coded_items(data: bytes, iinf: _Box, budget: _Budget) -> Iterator[int]:
    head = 6 if data[iinf.start] == 0 else 8
    for box in _boxes(data, iinf.start + head, iinf.end, budget):
        form = ">H2x4s" if data[box.start] == 2 else ">I2x4s"
        item, kind = struct.unpack_from(form, data, box.start + 4)
        if kind == b"av01":
            yield item


def _locations(data: bytes, iloc: _Box, budget: _Budget) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Yield each item's id, its construction method, and the offset and length of each of its parts."""
    version, sizes = data[iloc.start], struct.unpack_from(">H", data, iloc.start + 4)[0]
    widths = [sizes >> shift & 15 for shift in (12, 8, 4, 0)]
    id_width = 2 if version < 2 else 4
    number = _reader(data, iloc.start + 6)
    for _ in range(number(id_width)):
        budget.spend()
        item = number(id_width)
        method = number(2) & 15 if version else 0
        number(2)  # the data reference
        base, extents = number(widths[2]), list[tuple[int, int]]()
        for _ in range(number(2)):
            budget.spend()
            number(widths[3] if version else 0)
            offset = base + number(widths[0])
            extents.append((offset, number(widths[1])))
        yield item, method, extents


def _reader(data: bytes, position: int) -> Callable[[int], int]:
    def number(width: int) -> int:
        nonlocal position
        position += width
        if position > len(data):
            raise IndexError("the data ends in a number")
        return int.from_bytes(data[position - width : position], "big")

    return number


def _first_samples(data: bytes, box: _Box, budget: _Budget) -> Iterator[bytes]:
    """Yield the code of the first sample of each track."""
    for inner in _boxes(data, box.start, box.end, budget):
        if inner.kind in _FOLDERS:
            yield from _first_samples(data, inner, budget)
        elif inner.kind == b"stbl":
            parts = {each.kind: each.start for each in _boxes(data, inner.start, inner.end, budget)}
            yield _first_sample(data, parts)


def _first_sample(data: bytes, parts: Mapping[bytes, int]) -> bytes:
    """Return the code of a track's first sample; `parts` has the positions of the track's tables."""
    form, table = (">Q", b"co64") if b"co64" in parts else (">I", b"stco")
    if table not in parts or b"stsz" not in parts:
        return b""
    (start,) = struct.unpack_from(form, data, parts[table] + 8)
    (equal,) = struct.unpack_from(">I", data, parts[b"stsz"] + 4)
    size = equal or struct.unpack_from(">I", data, parts[b"stsz"] + 12)[0]
    return data[start : start + size]


def _sizes(code: bytes, budget: _Budget) -> Iterator[tuple[int, int]]:
    """Yield the maximum width and height in each sequence header of a coded image."""
    position = 0
    while position < len(code):
        budget.spend()
        head = code[position]
        position += 2 if head & 4 else 1
        size = len(code) - position
        if head & 2:
            size, position = _variable_number(code, position)
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            yield _frame_size(code[position : position + min(size, MAX_HEADER_BYTES)])
        position += size


def _variable_number(code: bytes, position: int) -> tuple[int, int]:
    """Return a number of seven bits in each byte, and the position behind the number."""
    number = 0
    for place in range(8):
        byte = code[position + place]
        number |= (byte & 127) << 7 * place
        if byte < 128:
            break
    return number, position + place + 1


def _frame_size(header: bytes) -> tuple[int, int]:
    """Return the maximum width and height of the frames after a sequence header."""
    bits, left = int.from_bytes(header, "big"), 8 * len(header)

    def read(count: int) -> int:
        nonlocal left
        left -= count
        if left < 0:
            raise IndexError("the sequence header is too short")
        return bits >> left & (1 << count) - 1

    read(4)
    if read(1):  # a still picture with a short header
        read(5)
    else:
        _skip_operating_points(read)
    width_bits, height_bits = read(4) + 1, read(4) + 1
    return read(width_bits) + 1, read(height_bits) + 1


def _skip_operating_points(read: Callable[[int], int]) -> None:
    delay_bits = _skip_timing(read) if read(1) else 0
    has_display_delay = read(1)
    for _ in range(read(5) + 1):
        read(12)
        if read(5) > 7:
            read(1)
        if delay_bits and read(1):
            read(2 * delay_bits + 1)
        if has_display_delay and read(1):
            read(4)


def _skip_timing(read: Callable[[int], int]) -> int:
    """Skip the timing of the frames; return the number of bits of a decoder's delay, or 0."""
    read(64)
    if read(1):
        zeros = 0
        while not read(1):
            zeros += 1
        read(min(zeros, 32))
    if not read(1):
        return 0
    delay_bits = read(5) + 1
    read(42)
    return delay_bits
