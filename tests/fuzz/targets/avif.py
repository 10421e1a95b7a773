"""An AVIF image: its frames are measured before they are decoded, also if the boxes are malformed."""

import contextlib
import io
import struct

from PIL import Image

from shared.avif_frames import MALFORMED, frame_sizes
from shared.image_header import ImageError, open_image
from worker.decode import PixelSpec, decode

MAX_PIXELS = 1_000_000
SPEC = PixelSpec(6, 8, 3, max_pixels=MAX_PIXELS)


def _saved(mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((16, 12)).convert(mode).save(out, "AVIF", speed=10, **options)
    return out.getvalue()


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _saved(exif=exif)


_ANIMATED = _saved(save_all=True, append_images=[Image.new("RGB", (16, 12))])
SEEDS = [_saved(), _saved("RGBA"), _saved("L", subsampling="4:0:0"), _rotated(), _ANIMATED]
SEEDS += [seed.replace(struct.pack(">II", 16, 12), struct.pack(">II", 8, 8)) for seed in SEEDS]
WORDS = [b"ftypavif", b"ftypavis", b"ftypmif1", b"meta", b"iinf", b"infe", b"iloc", b"idat", b"ispe", b"av01"]
WORDS += [b"moov", b"trak", b"stbl", b"stco", b"co64", b"stsz", b"grid", b"irot", b"\x12\0\x0a", b"\x0a\x0b"]


def run(data: bytes) -> None:
    try:
        sizes = frame_sizes(data)
    except MALFORMED:
        sizes = []
    assert all(width >= 1 and height >= 1 for width, height in sizes)
    try:
        opened = open_image(data, MAX_PIXELS)
    except ImageError as error:
        assert "\n" not in str(error)
        return
    if opened.format == "AVIF":
        assert sizes and all(width * height <= MAX_PIXELS for width, height in sizes)
    assert 1 <= opened.width * opened.height <= MAX_PIXELS and 1 <= opened.orientation <= 8
    with contextlib.suppress(ImageError):
        assert decode(data, None, SPEC).shape == (1, 6, 8, 3)
