"""Pictures that tests can recognise again."""

import io
from typing import Any

import numpy as np
from PIL import Image

CORNERS = ((250, 20, 20), (20, 230, 20), (20, 20, 240), (240, 240, 20))
"""The colours of the upright picture: top left, top right, bottom left, bottom right."""

STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How the upright picture is stored under each EXIF orientation."""


def quadrants(width: int = 120, height: int = 80) -> Image.Image:
    """Four colours, one a corner; wider than high, so that a turn shows."""
    image = Image.new("RGB", (width, height))
    for i, color in enumerate(CORNERS):
        x, y = (i % 2) * width // 2, (i // 2) * height // 2
        image.paste(color, (x, y, x + width // 2, y + height // 2))
    return image


def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    """Something like a photo: large soft shapes and some fine grain."""
    random = np.random.default_rng(seed)
    layers = [random.integers(0, 256, (n, n, 3), np.uint8) for n in (5, 24)]
    soft = [
        np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.BICUBIC)) for each in layers
    ]
    grain = random.normal(0, 4, (height, width, 3))
    return Image.fromarray(np.clip(0.7 * soft[0] + 0.3 * soft[1] + grain, 0, 255).astype(np.uint8))


def saved(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """The picture's bytes in a format of Pillow's."""
    out = io.BytesIO()
    image.save(out, form, **({"quality": 95, "subsampling": 0} if form == "JPEG" else {}) | options)
    return out.getvalue()


def oriented(orientation: int, form: str = "JPEG") -> bytes:
    """The quadrants, stored turned, with the EXIF orientation that turns them back."""
    turn = STORED[orientation]
    image = quadrants() if turn is None else quadrants().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, form, exif=exif)
