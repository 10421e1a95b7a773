"""Finds the size of a usual JPEG image without Pillow.

Pillow's JPEG reader takes several times as long, because it makes a Python object for each part of the
header. This scan accepts only images that Pillow certainly accepts. Pillow judges all others.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

MAX_SEGMENTS = 1000
"""Maximum number of segments before the pixels.

Images with more segments are left to Pillow, whose number of reads is limited."""

_START, _APP1, _START_OF_SCAN = b"\xff\xd8", 0xE1, 0xDA
_FRAMES = {0xC0, 0xC1, 0xC2}
_SKIPPED = {_APP1, 0xC4, 0xDB, 0xDD, 0xFE, *range(0xE3, 0xED), 0xEF}
"""Segments whose content has no influence: tables, restart interval, comments and most application data."""

_PARSED = {0xE0: (b"JFIF", 7), 0xE2: (b"ICC_PROFILE\0", 14), 0xEE: (b"Adobe", 7)}
"""Segments that Pillow parses if they begin with this text, and the minimum length that Pillow needs."""

_HEAD = struct.Struct(">BBH")
_FRAME = struct.Struct(">BHHB")


class JpegHeader(NamedTuple):
    """A JPEG image's stored size in pixels, and its EXIF block (empty: it has none)."""

    width: int
    height: int
    exif: bytes


def scan_jpeg(data: bytes) -> JpegHeader | None:
    """Return the header of a usual JPEG image, or None if only Pillow can judge the file."""
    frames, exif = list[bytes](), list[bytes]()
    for marker, content in _segments(data):
        if marker == _START_OF_SCAN:
            return _header(frames, exif)
        if marker in _FRAMES:
            frames.append(content)
        elif marker == _APP1 and content.startswith(b"Exif\0\0"):
            exif.append(content)
        elif not _is_skipped(marker, content):
            return None
    return None


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the content of each segment, until something else follows."""
    position = len(_START) if data.startswith(_START) else len(data)
    for _ in range(MAX_SEGMENTS):
        if position + _HEAD.size > len(data):
            return
        first, marker, length = _HEAD.unpack_from(data, position)
        end = position + 2 + length
        if first != 0xFF or length < 2 or end > len(data):
            return
        yield marker, data[position + 4 : end]
        position = end


def _header(frames: list[bytes], exif: list[bytes]) -> JpegHeader | None:
    if len(frames) != 1 or len(exif) > 1 or len(frames[0]) < _FRAME.size:
        return None
    bits, height, width, layers = _FRAME.unpack_from(frames[0])
    is_usual = bits == 8 and layers in (1, 3, 4) and len(frames[0]) == _FRAME.size + 3 * layers
    return JpegHeader(width, height, b"".join(exif)) if is_usual and width * height else None


def _is_skipped(marker: int, content: bytes) -> bool:
    if marker not in _PARSED:
        return marker in _SKIPPED
    start, minimum = _PARSED[marker]
    return not content.startswith(start) or len(content) >= minimum
