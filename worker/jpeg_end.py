"""Adds an end to a truncated JPEG image, so that libjpeg can decode the image."""

JPEG_START, _END = b"\xff\xd8\xff", b"\xff\xd9"

_BITS = bytes(byte for byte in (number * 167 % 256 for number in range(2048)) if byte not in (0, 255))
_RESTARTS = [bytes((0xFF, 0xD0 + number)) for number in range(8)]

ADDITIONS = tuple(bits + bits.join(_RESTARTS) + bits for bits in (_BITS, bytes(255 - each for each in _BITS)))
"""Two additions to a JPEG image's end, of which each bit differs.

If the image lacks any bit, the decoder reads other pixels with each addition. The restart markers are for
images that lack whole restart intervals."""


def with_end(data: bytes, added: bytes = b"") -> bytes:
    """Return a truncated JPEG image with additional bits and with an end marker.

    Without additional bits, libjpeg makes the missing pixels grey.
    """
    return data.removesuffix(b"\xff") + added + _END
