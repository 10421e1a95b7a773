"""Stage two: an image's bytes become the model's pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.image_header import ImageError, OpenedImage, open_image
from shared.job import Region
from shared.settings import Settings

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""

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

_REDUCING_GAP = 3.0
"""Pillow shrinks by a whole number first while this many times the target's side is left: half the time of
the filter alone, and within the same mean of 1 of 255 of it."""


@dataclass(frozen=True)
class PixelSpec:
    """What the model takes: size, channels (1 or 3), their order, the filter; and the bound of pixels."""

    height: int
    width: int
    channels: int
    color: str = "rgb"
    resize: str = "antialias"
    max_pixels: int = 100_000_000

    @classmethod
    def of(cls, shape: tuple[int, int, int], settings: Settings) -> "PixelSpec":
        """What a model of this height, width and channels takes under these settings."""
        return cls(*shape, settings.input_color, settings.input_resize, settings.max_image_pixels)


def decode(data: bytes, regions: Sequence[Region] | None, spec: PixelSpec) -> NDArray[np.uint8]:
    """Decode an image, turn it upright, cut the regions out and resize them.

    Returns uint8 [regions, height, width, channels]; the whole image is one region where `regions` is None.

    Raises:
        ImageError: the image is damaged, or not one that is read, or smaller than a region needs.
    """
    opened = open_image(data, spec.max_pixels)
    boxes = _boxes(opened, regions)
    pixels = np.empty((len(boxes), spec.height, spec.width, spec.channels), np.uint8)
    try:
        scale = _load(opened, boxes, spec)
        for out, box in zip(pixels, boxes, strict=True):
            part = np.asarray(_cut(opened, box, scale, spec)).reshape(out.shape)
            out[:] = part[..., ::-1] if spec.color == "bgr" else part
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise ImageError("damaged", f"the image is damaged: {_reason(error)}") from None
    return pixels


def _boxes(opened: OpenedImage, regions: Sequence[Region] | None) -> list[Box]:
    whole = (0, 0, opened.width, opened.height)
    boxes: list[Box] = [(r.x, r.y, r.x + r.side, r.y + r.side) for r in regions] if regions else [whole]
    for left, top, right, bottom in boxes:
        if not (0 <= left < right <= opened.width and 0 <= top < bottom <= opened.height):
            detail = f"a region lies outside the image of {opened.width}×{opened.height} pixels"
            raise ImageError("damaged", detail)
    return boxes


def _load(opened: OpenedImage, boxes: Sequence[Box], spec: PixelSpec) -> int:
    """Decode the pixels and return by how much smaller than told they are: 1, 2, 4 or 8."""
    image = opened.image
    width, height = image.size
    scale = _draft_scale(boxes, spec) if opened.format == "JPEG" else 1
    if scale > 1 and image.draft(None, (width // scale, height // scale)) is None:
        scale = 1
    image.load()
    if image.size != (math.ceil(width / scale), math.ceil(height / scale)):
        raise ValueError(f"its header says {width}×{height} pixels and its data {image.width}×{image.height}")
    image.info.pop("transparency", None)  # dropped, as OpenCV and Keras' loader drop it
    return scale


def _draft_scale(boxes: Sequence[Box], spec: PixelSpec) -> int:
    """The largest reduction that libjpeg has and that leaves enough of every box."""
    if spec.resize != "antialias":
        return 1
    enough = min(
        min((right - left) / spec.width, (bottom - top) / spec.height) for left, top, right, bottom in boxes
    )
    return next((scale for scale in (8, 4, 2) if scale * _OVERSAMPLING <= enough), 1)


def _cut(opened: OpenedImage, box: Box, scale: int, spec: PixelSpec) -> Image.Image:
    """One region, resized; `box` is in pixels of the upright image at its full size.

    It is cut first, so that no pixel from outside takes part, and turned then, being the smaller.
    """
    image = opened.image
    stored = _as_stored(box, opened)
    left, top, right, bottom = (edge / scale for edge in stored)
    # At a reduced scale an edge may lie within a pixel: all of the pixel is cut, and the filter weighs it.
    cut = (math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))
    part = image if cut == (0, 0, *image.size) else image.crop(cut)
    inner = (left - cut[0], top - cut[1], right - cut[0], bottom - cut[1])
    inner = _as_upright(inner, part.size, opened.orientation)
    part = _in_mode(part, "L" if spec.channels == 1 else "RGB")
    if opened.orientation > 1:
        part = part.transpose(_UPRIGHT[opened.orientation])
    return _resized(part, inner, spec)


def _as_stored(box: Box, opened: OpenedImage) -> Box:
    """Where a box of the upright image lies in the image as it is stored, at full size."""
    width, height = opened.width, opened.height
    if opened.orientation >= 5:
        left, top, right, bottom = box
        box, width, height = (top, left, bottom, right), height, width
    return _flipped(box, (width, height), opened.orientation)


def _as_upright(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """The other way round: where a box of a stored image of this size lies when that is turned."""
    left, top, right, bottom = _flipped(box, size, orientation)
    return (top, left, bottom, right) if orientation >= 5 else (left, top, right, bottom)


def _flipped(box: Box, size: tuple[int, int], orientation: int) -> Box:
    left, top, right, bottom = box
    if orientation in (2, 3, 7, 8):
        left, right = size[0] - right, size[0] - left
    if orientation in (3, 4, 6, 7):
        top, bottom = size[1] - bottom, size[1] - top
    return left, top, right, bottom


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would clip sixteen bits at 255; OpenCV, and so the original, takes the upper eight.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode == "LAB":
        image = image.convert("RGB")  # Pillow has no way from it to grey
    return image if image.mode == mode else image.convert(mode)


def _resized(part: Image.Image, inner: Box, spec: PixelSpec) -> Image.Image:
    size = (spec.width, spec.height)
    if spec.resize == "nearest":
        return part.resize(size, Image.Resampling.NEAREST)
    if spec.resize == "bilinear":
        # Two by two source pixels for each of the target's, edges repeated, as OpenCV's INTER_LINEAR.
        return part.transform(size, Image.Transform.EXTENT, (0, 0, *part.size), Image.Resampling.BILINEAR)
    return part.resize(size, Image.Resampling.BILINEAR, inner, _REDUCING_GAP)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:200] if text and " object at 0x" not in text else "its data can't be decoded"
