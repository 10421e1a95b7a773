"""The worker's decode stage: decodes an image's bytes into pixels for the model."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.image_header import ImageError, OpenedImage, open_image
from shared.job import Region
from shared.jpeg_scan import has_all_scans
from shared.pillow_compat import load_truncated
from shared.settings import MAX_PIXELS, Settings
from worker.jpeg_end import ADDITIONS, JPEG_START, with_end
from worker.orientation import Box, stored_box, turn_upright, upright_box

Pixels = NDArray[np.uint8]

EncodedImage = tuple[bytes, Sequence[Region] | None]
"""The bytes of an image's file, and the regions to cut out; None means the whole image."""

_OVERSAMPLING = 2
"""Minimum ratio of a region's side to the model input's side after a JPEG is decoded at a reduced scale.

With this ratio, decoding at a reduced scale changes pixel values by at most 1 of 255 on average."""

REDUCING_GAP = 3.0
"""Minimum ratio of a region's side to the model input's side after the first step of Pillow's resize.

Pillow's first step shrinks the region by a whole-number factor, and its second step applies the filter. A
resize in two steps takes half the time of a resize with the filter alone. Compared with the filter alone,
the two steps change pixel values by at most 1 of 255 on average."""


@dataclass(frozen=True)
class PixelSpec:
    """The image format that the model expects: size, channels (1 or 3), color order and resize filter.

    `max_pixels` is the maximum number of pixels of a submitted image. `truncated` is the treatment of
    truncated images, 'refuse' or 'accept'.
    """

    height: int
    width: int
    channels: int
    color: str = "rgb"
    resize: str = "antialias"
    max_pixels: int = MAX_PIXELS
    max_jpeg_pixels: int = 0
    """Maximum number of pixels of a JPEG image, of which at most `max_pixels` are decoded."""
    truncated: str = "refuse"

    @classmethod
    def of(cls, shape: tuple[int, int, int], settings: Settings) -> "PixelSpec":
        """Return the specification of a model's input of this shape (height, width, channels)."""
        colors = (settings.input_color, settings.input_resize)
        return cls(*shape, *colors, *settings.pixel_limits, settings.input_truncated)


@dataclass(frozen=True)
class DecodedImage:
    """An image's inputs for the model: `pixels` is uint8 [inputs, height, width, channels].

    `seconds` is the duration of the decoding, and `decoded_at` is the time at which the decoding ended, by
    the monotonic clock. `is_truncated` is whether a part of the image's pixels is missing.
    """

    pixels: Pixels
    seconds: float
    is_truncated: bool = False
    decoded_at: float = field(default_factory=time.monotonic)


Outcome = DecodedImage | ImageError


class Decoder(Protocol):
    """Decodes images for the model."""

    def decode(self, images: Sequence[EncodedImage]) -> list[Outcome]:
        """Return, for each image, its inputs or the reason why it can't be decoded."""

    def close(self) -> None:
        """End the decoder's threads and processes."""


class TruncatedImage(ImageError):
    """Raised if a part of an image's pixels is missing."""


def decode_image(image: EncodedImage, spec: PixelSpec) -> Outcome:
    """Decode one image with Pillow; return the error of a damaged image instead of raising it."""
    start = time.monotonic()
    try:
        pixels, is_truncated = decode(*image, spec), False
    except TruncatedImage as error:
        if spec.truncated != "accept":
            return error
        try:
            pixels, is_truncated = _decode_rest(*image, spec), True
        except Exception:  # Pillow's decoders may raise any exception on damaged bytes.
            return error
    except ImageError as error:
        return error
    return DecodedImage(pixels, time.monotonic() - start, is_truncated)


def decode(data: bytes, regions: Sequence[Region] | None, spec: PixelSpec) -> Pixels:
    """Decode an image, turn it upright, cut out the regions and resize them.

    Returns an array, uint8 [regions, height, width, channels]. If `regions` is None, the whole image is one
    region.

    Raises:
        TruncatedImage: a part of the image's pixels is missing.
        ImageError: the image is damaged or unsupported, or a region lies outside of the image.
    """
    try:
        return _inputs(data, regions, spec)
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders may raise any exception on damaged bytes.
        reason = _reason(error)
    if not reason.startswith("image file is truncated"):
        raise ImageError("damaged", f"the image is damaged: {reason}")
    pixels = _decode_without_end(data, regions, spec)
    if pixels is None:
        raise TruncatedImage("damaged", f"the image is damaged: {reason}")
    return pixels


def _decode_without_end(data: bytes, regions: Sequence[Region] | None, spec: PixelSpec) -> Pixels | None:
    """Decode a JPEG image that lacks only its end marker; return None if pixels are missing.

    If such an image contains all bits that the decoder needs, bits that are added to its end change nothing.
    """
    if not (data.startswith(JPEG_START) and has_all_scans(data)):
        return None
    try:
        first, second = (_inputs(with_end(data, added), regions, spec) for added in ADDITIONS)
    except Exception:  # Pillow's decoders may raise any exception on damaged bytes.
        return None
    return first if (first == second).all() else None


def _decode_rest(data: bytes, regions: Sequence[Region] | None, spec: PixelSpec) -> Pixels:
    """Decode a truncated image. The missing pixels are grey in a JPEG image, black in other images."""
    if data.startswith(JPEG_START):
        return _inputs(with_end(data), regions, spec)
    return _inputs(data, regions, spec, load_truncated)


def _inputs(
    data: bytes,
    regions: Sequence[Region] | None,
    spec: PixelSpec,
    load: Callable[[Image.Image], object] = lambda image: image.load(),
) -> Pixels:
    opened = open_image(data, spec.max_pixels, spec.max_jpeg_pixels)
    boxes = region_boxes(opened, regions)
    pixels = np.empty((len(boxes), spec.height, spec.width, spec.channels), np.uint8)
    scale = _load(opened, boxes, spec, load)
    for out, box in zip(pixels, boxes, strict=True):
        part = np.asarray(_cut(opened, box, scale, spec)).reshape(out.shape)
        out[:] = part[..., ::-1] if spec.color == "bgr" else part
    return pixels


def region_boxes(opened: OpenedImage, regions: Sequence[Region] | None) -> list[Box]:
    """Return the regions as boxes in the upright image.

    Raises:
        ImageError: a region lies outside of the image.
    """
    whole = (0, 0, opened.width, opened.height)
    boxes: list[Box] = [(r.x, r.y, r.x + r.side, r.y + r.side) for r in regions] if regions else [whole]
    for left, top, right, bottom in boxes:
        if not (0 <= left < right <= opened.width and 0 <= top < bottom <= opened.height):
            detail = f"a region lies outside the image of {opened.width}×{opened.height} pixels"
            raise ImageError("damaged", detail)
    return boxes


def _load(
    opened: OpenedImage, boxes: Sequence[Box], spec: PixelSpec, load: Callable[[Image.Image], object]
) -> int:
    """Decode the pixels with `load`, if possible at a reduced scale to save time.

    Returns the factor by which the width and the height were reduced: 1, 2, 4 or 8.

    Raises:
        ImageError: the image is too large to be decoded at the scale that the regions need.
    """
    image = opened.image
    width, height = image.size
    scale = _draft_scale(boxes, spec) if opened.format == "JPEG" else 1
    if scale > 1 and image.draft(None, (width // scale, height // scale)) is None:
        scale = 1
    _check_scale(image, spec)
    load(image)
    if image.size != (math.ceil(width / scale), math.ceil(height / scale)):
        raise ValueError(f"its header has {width}×{height} pixels, its data has {image.width}×{image.height}")
    image.info.pop("transparency", None)  # OpenCV and Keras' image loader also ignore transparency.
    return scale


def _check_scale(image: Image.Image, spec: PixelSpec) -> None:
    if image.width * image.height > spec.max_pixels:
        size = f"{image.width}×{image.height}"
        detail = (
            f"the image has {size} pixels, more than the maximum of {spec.max_pixels} for decoding at full"
        )
        detail += f" scale, which its regions or the resize filter {spec.resize} need"
        raise ImageError("too-large", f"{detail}. Send a smaller image or larger regions.")


def _draft_scale(boxes: Sequence[Box], spec: PixelSpec) -> int:
    """Return the largest factor by which libjpeg may reduce the image.

    Each side of a region must remain at least `_OVERSAMPLING` times as long as the model input's side.
    """
    if spec.resize != "antialias":
        return 1
    enough = min(
        min((right - left) / spec.width, (bottom - top) / spec.height) for left, top, right, bottom in boxes
    )
    return next((scale for scale in (8, 4, 2) if scale * _OVERSAMPLING <= enough), 1)


def _cut(opened: OpenedImage, box: Box, scale: int, spec: PixelSpec) -> Image.Image:
    """Return one region, resized for the model.

    `box` is in pixels of the upright image at its full size. The region is cut out before it is resized,
    because pixels outside of the region must have no influence. The region is also cut out before it is
    turned, because turning the whole image would take longer.
    """
    image = opened.image
    stored = stored_box(box, (opened.width, opened.height), opened.orientation)
    left, top, right, bottom = (edge / scale for edge in stored)
    # At a reduced scale, a region's edge may lie within a pixel. The cut includes the whole pixel, and the
    # resize filter weights this pixel by its share in the region.
    cut = (math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))
    part = image if cut == (0, 0, *image.size) else image.crop(cut)
    inner = (left - cut[0], top - cut[1], right - cut[0], bottom - cut[1])
    inner = upright_box(inner, part.size, opened.orientation)
    if part.mode.startswith("I;16"):
        part = _in_eight_bits(part, opened)
    part = _in_mode(part, "L" if spec.channels == 1 else "RGB")
    return _resized(turn_upright(part, opened.orientation), inner, spec)


def _in_eight_bits(image: Image.Image, opened: OpenedImage) -> Image.Image:
    # Pillow would clip 16-bit values at 255. Like the original server, keep the upper 8 bits.
    samples = (np.asarray(image) >> (opened.sample_bits - 8)).astype(np.uint8)
    return Image.fromarray(~samples if opened.is_white_zero else samples)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "LAB":
        image = image.convert("RGB")  # Pillow can't convert LAB colors to grey directly.
    return image if image.mode == mode else image.convert(mode)


def _resized(part: Image.Image, inner: Box, spec: PixelSpec) -> Image.Image:
    size = (spec.width, spec.height)
    if spec.resize == "nearest":
        return part.resize(size, Image.Resampling.NEAREST)
    if spec.resize == "bilinear":
        # Each target pixel interpolates 2×2 source pixels with repeated edges, as OpenCV's INTER_LINEAR does.
        return part.transform(size, Image.Transform.EXTENT, (0, 0, *part.size), Image.Resampling.BILINEAR)
    return part.resize(size, Image.Resampling.BILINEAR, inner, REDUCING_GAP)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:200] if text and " object at 0x" not in text else "its data can't be decoded"
