"""Stage two: an image's bytes become the model's pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.images import ImageError, OpenedImage, open_image
from shared.job import Region

Box = tuple[float, float, float, float]

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_OVERSAMPLING = 2
"""A JPEG is decoded at a reduced scale only while each region keeps this many times the target's side:
then the result stays within a mean of 1 of 255 of the full decode."""


@dataclass(frozen=True)
class PixelSpec:
    """What the model takes: size, channels (1 or 3), their order, the filter; and the bound of pixels."""

    height: int
    width: int
    channels: int
    color: str = "rgb"
    resize: str = "antialias"
    max_pixels: int = 100_000_000


def decode(data: bytes, regions: Sequence[Region] | None, spec: PixelSpec) -> NDArray[np.uint8]:
    """Decode an image, turn it upright, cut the regions out and resize them.

    Returns uint8 [regions, height, width, channels]; the whole image is one region where `regions` is None.

    Raises:
        ImageError: the image is damaged, or not one that is read.
    """
    opened = open_image(data, spec.max_pixels)
    whole = ((0, 0, opened.width, opened.height),)
    boxes = [(r.x, r.y, r.x + r.side, r.y + r.side) for r in regions] if regions else whole
    for left, top, right, bottom in boxes:
        if left < 0 or top < 0 or right > opened.width or bottom > opened.height:
            raise ImageError(
                "damaged", f"a region lies outside the image of {opened.width}×{opened.height} pixels"
            )
    try:
        image = _upright(opened, boxes, spec)
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise ImageError("damaged", f"the image is damaged: {_reason(error)}") from None
    scale_x, scale_y = opened.width / image.width, opened.height / image.height
    pixels = np.empty((len(boxes), spec.height, spec.width, spec.channels), np.uint8)
    for out, (left, top, right, bottom) in zip(pixels, boxes, strict=True):
        box = (left / scale_x, top / scale_y, right / scale_x, bottom / scale_y)
        part = np.asarray(_resized(image, box, spec)).reshape(out.shape)
        out[:] = part[..., ::-1] if spec.color == "bgr" else part
    return pixels


def _upright(opened: OpenedImage, boxes: Sequence[Box], spec: PixelSpec) -> Image.Image:
    """The decoded image, turned upright, in the model's mode; smaller where that loses nothing."""
    image, mode = opened.image, "L" if spec.channels == 1 else "RGB"
    if opened.format in ("JPEG", "MPO") and spec.resize == "antialias":
        image.draft(None, _draft_size(opened, boxes, spec))
    image.load()
    if image.mode.startswith("I;16"):
        # Pillow would clip sixteen bits at 255; OpenCV, and so the original, takes the upper eight.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode != mode:
        image = image.convert(mode)
    return image.transpose(_UPRIGHT[opened.orientation]) if opened.orientation > 1 else image


def _draft_size(opened: OpenedImage, boxes: Sequence[Box], spec: PixelSpec) -> tuple[int, int]:
    """The least size, as stored, at which every box is still large enough; Pillow takes the next above."""
    factor = min(
        min((right - left) / spec.width, (bottom - top) / spec.height) for left, top, right, bottom in boxes
    )
    scale = min(_OVERSAMPLING / factor, 1.0)
    width, height = opened.image.size
    return math.ceil(width * scale), math.ceil(height * scale)


def _resized(image: Image.Image, box: Box, spec: PixelSpec) -> Image.Image:
    size = (spec.width, spec.height)
    # Cut first, so that no pixel from outside the region takes part.
    left, top = math.floor(box[0]), math.floor(box[1])
    right, bottom = min(math.ceil(box[2]), image.width), min(math.ceil(box[3]), image.height)
    part = image.crop((left, top, right, bottom))
    inner = (box[0] - left, box[1] - top, min(box[2] - left, part.width), min(box[3] - top, part.height))
    if spec.resize == "nearest":
        return part.resize(size, Image.Resampling.NEAREST, inner)
    if spec.resize == "bilinear":
        # Two by two source pixels for each of the target's, edges repeated, as OpenCV's INTER_LINEAR.
        extent = (0, 0, part.width, part.height)
        return part.transform(size, Image.Transform.EXTENT, extent, Image.Resampling.BILINEAR)
    return part.resize(size, Image.Resampling.BILINEAR, inner)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:200] if text and "BytesIO" not in text else "its data can't be decoded"
