"""An image's header: the result is a size or an `ImageError`, with and without the scan of JPEG images."""

from shared.image_header import ImageError, open_image, upright_size
from tests.fuzz.targets.images import SEEDS as IMAGES

SEEDS = IMAGES
MAX_PIXELS = 4_000_000
WORDS = [b"II*\0", b"MM\0*", b"Exif\0\0", b"\xff\xd8\xff", b"IHDR", b"IDAT", b"VP8X", b"\x12\x01\x03\0"]
WORDS += [
    b"JFIF\0",
    b"ICC_PROFILE\0",
    b"Adobe",
    b"Photoshop 3.0\0",
    b"MPF\0",
    b"http://ns.adobe.com/xap/1.0/\0",
]
WORDS += [
    bytes((0xFF, marker)) for marker in (0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE)
]


def _error_of_scan(data: bytes) -> str:
    try:
        upright_size(data, MAX_PIXELS)
    except ImageError as error:
        return str(error)
    return "none"


def run(data: bytes) -> None:
    try:
        opened = open_image(data, MAX_PIXELS)
    except ImageError as error:
        assert _error_of_scan(data) == str(error)
        return
    assert 1 <= opened.width * opened.height <= MAX_PIXELS and 1 <= opened.orientation <= 8
    assert upright_size(data, MAX_PIXELS) == (opened.width, opened.height)
