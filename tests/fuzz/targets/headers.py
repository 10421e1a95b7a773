"""An image's header: the result is a size or an `ImageError`."""

import contextlib

from shared.image_header import ImageError, open_image
from tests.fuzz.targets.images import SEEDS as IMAGES

SEEDS = IMAGES
MAX_PIXELS = 4_000_000
WORDS = [b"II*\0", b"MM\0*", b"Exif\0\0", b"\xff\xd8\xff", b"IHDR", b"IDAT", b"VP8X", b"\x12\x01\x03\0"]


def run(data: bytes) -> None:
    with contextlib.suppress(ImageError):
        opened = open_image(data, MAX_PIXELS)
        assert 1 <= opened.width * opened.height <= MAX_PIXELS and 1 <= opened.orientation <= 8
