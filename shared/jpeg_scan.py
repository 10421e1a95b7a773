"""Finds the size of a usual JPEG image without Pillow.

Pillow's JPEG reader takes several times as long, because it makes a Python object for each part of the
header. This scan accepts only images that Pillow certainly accepts. Pillow judges all others.
"""

import re
import struct
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

MAX_SEGMENTS = 1000
"""Maximum number of segments before the pixels.

Images with more segments are left to Pillow, whose number of reads is limited."""

_START, _APP1, _START_OF_SCAN = b"\xff\xd8", 0xE1, 0xDA
_PROGRESSIVE = {0xC2, 0xCA}
_ALL_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB}
_FRAMES = {0xC0, 0xC1, 0xC2}
_SKIPPED = {_APP1, 0xC4, 0xDB, 0xDD, 0xFE, *range(0xE3, 0xED), 0xEF}
"""Segments whose content has no influence: tables, restart interval, comments and most application data."""

_PARSED = {0xE0: (b"JFIF", 7), 0xE2: (b"ICC_PROFILE\0", 14), 0xEE: (b"Adobe", 7)}
"""Segments that Pillow parses if they begin with this text, and the minimum length that Pillow needs."""

_SCAN = re.compile(b"\xff\xda(..).", re.DOTALL)

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


class _Frame(NamedTuple):
    """The frame of a JPEG image: its marker, its number of pixels, and the number of each channel.

    `sampling` has the number of each channel's blocks in a group of blocks, across and down.
    """

    marker: int
    pixels: int
    channels: bytes
    sampling: tuple[tuple[int, int], ...]

    @property
    def coefficients(self) -> int | None:
        """The number of coefficients in all channels, or None if the sampling is malformed."""
        blocks = [across * down for across, down in self.sampling]
        if not blocks or 0 in blocks:
            return None
        largest = max(across for across, _ in self.sampling) * max(down for _, down in self.sampling)
        return self.pixels * sum(blocks) // largest


def _first_scan(data: bytes) -> tuple[_Frame, bytes] | None:
    """Return the frame and the first scan's header of a JPEG image, or None if the scan can't find them."""
    frames: list[_Frame] = []
    for marker, content in _segments(data):
        if marker in _ALL_FRAMES and len(content) >= _FRAME.size:
            _, height, width, layers = _FRAME.unpack_from(content)
            parts = content[_FRAME.size :][: 3 * layers]
            sampling = tuple((each >> 4, each & 15) for each in parts[1::3])
            frames.append(_Frame(marker, width * height, parts[::3], sampling))
        elif marker == _START_OF_SCAN:
            return (frames[0], content) if len(frames) == 1 and content else None
    return None


def coefficient_bytes(data: bytes) -> int | None:
    """Return the memory in bytes that libjpeg needs for an image's coefficients.

    The memory is 0 if the image is decoded line by line. It is large if the image is progressive, or if each
    scan has only some of the channels. The function returns None if it can't tell.
    """
    found = _first_scan(data)
    count = found[0].coefficients if found else None
    if not found or count is None:
        return None
    frame, scan = found
    is_buffered = frame.marker in _PROGRESSIVE or scan[0] != len(frame.channels)
    return 2 * count if is_buffered else 0


def has_all_scans(data: bytes) -> bool:
    """Return whether a JPEG image contains each coefficient of each channel in full precision.

    The function returns False if it can't tell. The last scan may be truncated.
    """
    if not (found := _first_scan(data)):
        return False
    missing = {(channel, number) for channel in found[0].channels for number in range(64)}
    for match in _SCAN.finditer(data):
        count, length = data[match.end() - 1], int.from_bytes(match[1], "big")
        scan = data[match.end() : match.end() + length - 3]
        if length == 6 + 2 * count and len(scan) == length - 3 and not scan[-1] & 15:
            numbers = range(scan[-3], scan[-2] + 1)
            missing.difference_update(product(scan[:-3:2], numbers))
    return not missing
