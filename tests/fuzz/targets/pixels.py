"""A byte that selects the options, then an image: the result is the model's pixels or an `ImageError`."""

import contextlib

from shared.image_header import ImageError
from shared.job import Region
from tests.fuzz.targets.images import SEEDS as IMAGES
from worker.decode import PixelSpec, decode

SEEDS = [bytes([number % 8]) + image for number, image in enumerate(IMAGES)]
SPECS = [
    PixelSpec(8, 6, 3, max_pixels=1_000_000),
    PixelSpec(8, 6, 1, max_pixels=1_000_000),
    PixelSpec(4, 4, 3, "bgr", "bilinear", 1_000_000),
    PixelSpec(4, 4, 3, "rgb", "nearest", 1_000_000),
]
REGIONS = (Region(0, 0, 12), Region(3, 2, 1))
WORDS = [b"II*\0", b"\xff\xda", b"\xff\xc2", b"IDAT", b"\x12\x01\x03\0"]


def run(data: bytes) -> None:
    choice = data[0] if data else 0
    spec, regions = SPECS[choice % 4], REGIONS if choice & 4 else None
    with contextlib.suppress(ImageError):
        pixels = decode(data[1:], regions, spec)
        assert pixels.shape == (len(regions or "1"), spec.height, spec.width, spec.channels)
