"""Images whose position, rotation and colours tests can recognise."""

import io
from typing import Any

import numpy as np
from PIL import Image

CORNERS = ((250, 20, 20), (20, 230, 20), (20, 20, 240), (240, 240, 20))
"""The colours of the upright image: top left, top right, bottom left, bottom right."""

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
"""The operation that turns the upright image into the stored image, by EXIF orientation."""


def quadrants(width: int = 120, height: int = 80) -> Image.Image:
    """Return an image with one colour per corner. It is wider than high, so that a rotation is visible."""
    image = Image.new("RGB", (width, height))
    for i, color in enumerate(CORNERS):
        x, y = (i % 2) * width // 2, (i // 2) * height // 2
        image.paste(color, (x, y, x + width // 2, y + height // 2))
    return image


def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return an image that resembles a photo: large soft shapes and fine grain."""
    random = np.random.default_rng(seed)
    layers = [random.integers(0, 256, (n, n, 3), np.uint8) for n in (5, 24)]
    soft = [
        np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.BICUBIC)) for each in layers
    ]
    grain = random.normal(0, 4, (height, width, 3))
    return Image.fromarray(np.clip(0.7 * soft[0] + 0.3 * soft[1] + grain, 0, 255).astype(np.uint8))


def saved(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """Return the image's bytes in one of Pillow's formats."""
    out = io.BytesIO()
    image.save(out, form, **({"quality": 95, "subsampling": 0} if form == "JPEG" else {}) | options)
    return out.getvalue()


def oriented(orientation: int, form: str = "JPEG") -> bytes:
    """Return `quadrants` as a file whose EXIF orientation makes the stored pixels upright."""
    operation = STORED[orientation]
    image = quadrants() if operation is None else quadrants().transpose(operation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, form, exif=exif)
