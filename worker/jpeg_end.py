"""Adds an end to a truncated JPEG image, so that libjpeg can decode the image."""

JPEG_START, _END = b"\xff\xd8\xff", b"\xff\xd9"

_PATTERN = bytes(byte for byte in (number * 167 % 256 for number in range(2048)) if byte not in (0, 255))

ADDITIONS = (_PATTERN, bytes(255 - byte for byte in _PATTERN))
"""Two strings of bits for a JPEG image's end, of which each bit differs.

The bytes contain no marker. If the image lacks any bit, the decoder reads other pixels with each string."""


def with_end(data: bytes, added: bytes = b"") -> bytes:
    """Return a truncated JPEG image with additional bits and with an end marker.

    Without additional bits, libjpeg makes the missing pixels grey.
    """
    return data.removesuffix(b"\xff") + added + _END
