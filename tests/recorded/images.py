"""Images in every format and sample type that callers send.

They are saved without loss, so that their pixels do not depend on the encoder.
"""

import io
from typing import Any

from PIL import Image

import demo

SEVEN = (demo.SAMPLES / "siete.jpg").read_bytes()
SCENE = (demo.SAMPLES / "tres-regiones.jpg").read_bytes()
DIGITS = tuple((demo.SAMPLES / "digits" / f"{number}.png").read_bytes() for number in range(10))
REGIONS = "40,40,220;390,60,200;245,300,150"
"""The regions of SCENE that hold a digit."""

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(64)


def saved(form: str, mode: str = "RGB", **options: Any) -> bytes:
    """Return SEVEN, whose scores are not all 0 or 1, in another file format and sample type."""
    out = io.BytesIO()
    image = Image.open(io.BytesIO(SEVEN)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = image.convert("I").point(lambda value: value * 257).convert("I;16")
    image.save(out, form, **options)
    return out.getvalue()


def turned(orientation: int = 6) -> bytes:
    """Return a digit that is stored on its side, with the EXIF orientation that turns it upright."""
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.open(io.BytesIO(DIGITS[7])).transpose(Image.Transpose.ROTATE_90).save(out, "PNG", exif=exif)
    return out.getvalue()
