"""Decodes plain JPEG images on a graphics card; another decoder decodes all other images."""

import io
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any, Protocol

import numpy as np
from PIL import Image

from shared.image_header import ImageError, OpenedImage, open_image
from shared.job import Region
from worker.card_resize import CardResizer, Part
from worker.decode import (
    DecodedImage,
    Decoder,
    EncodedImage,
    Outcome,
    PixelSpec,
    decode,
    region_boxes,
)
from worker.nvimgcodec_compat import JpegCodec
from worker.orientation import Box

logger = logging.getLogger(__name__)

MAX_SIDE = 8192
"""Maximum width and height of an image that is decoded on the card, in pixels."""

MAX_CHUNK_PIXELS = MAX_SIDE**2
"""Maximum number of pixels that are decoded at once. They need at most 200 MB of the card's memory."""

MAX_MEAN_DIFFERENCE = 1.0
"""Maximum mean difference between the card's pixels and Pillow's pixels, on a scale from 0 to 255."""

PAUSE_SECONDS = 60.0
"""Time after an error of the card in which the card decodes no images, in seconds."""

_ORIENTATION = 0x0112
_END_OF_IMAGE = b"\xff\xd9"


class Codec(Protocol):
    """The interface of `worker.nvimgcodec_compat.JpegCodec`."""

    def decode(self, files: Sequence[bytes]) -> Sequence[Any]:
        """Return a tensor, uint8 [height, width, 3], for each file, or None if it can't be decoded."""


@dataclass(frozen=True, eq=False)
class _PlainJpeg:
    """An image that the card can decode, with its position in the claim and its regions."""

    position: int
    data: bytes
    opened: OpenedImage
    boxes: Sequence[Box]

    @property
    def pixels(self) -> int:
        """The image's number of pixels."""
        return self.opened.width * self.opened.height

    def fits(self, image: Any) -> bool:
        """Return whether the codec decoded the image, and to the size in the header.

        Another size means that the image is damaged. Pillow then refuses the image with the reason.
        """
        return image is not None and tuple(image.shape) == (*self.opened.image.size[::-1], 3)

    def parts(self, image: Any) -> list[Part]:
        """Return the inputs of the model that the regions of the decoded image are."""
        size = (self.opened.width, self.opened.height)
        return [Part.of(image, box, size, self.opened.orientation) for box in self.boxes]


class CardDecoder:
    """Decodes plain JPEG images on the card, and all other images with the decoder `rest`."""

    def __init__(self, spec: PixelSpec, codec: Codec, rest: Decoder) -> None:
        self._spec, self._codec, self._rest = spec, codec, rest
        self._resizer = CardResizer(spec)
        self._paused_until = 0.0

    def decode(self, images: Sequence[EncodedImage]) -> list[Outcome]:
        """Return, for each image, its inputs or the reason why it can't be decoded."""
        outcomes: dict[int, Outcome] = {}
        for chunk in _chunks(images, self._spec.max_pixels):
            outcomes.update(self._try_chunk(chunk))
        rest = [position for position in range(len(images)) if position not in outcomes]
        if rest:
            decoded = self._rest.decode([images[position] for position in rest])
            outcomes.update(zip(rest, decoded, strict=True))
        return [outcomes[position] for position in range(len(images))]

    def _try_chunk(self, chunk: Sequence[_PlainJpeg]) -> dict[int, DecodedImage]:
        if time.monotonic() < self._paused_until:
            return {}
        try:
            return self._decode_chunk(chunk)
        except Exception as error:  # TensorFlow and nvImageCodec raise exceptions of many types.
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            logger.warning("decoding on the card failed, Pillow used for %g s: %s", PAUSE_SECONDS, error)
            return {}

    def _decode_chunk(self, chunk: Sequence[_PlainJpeg]) -> dict[int, DecodedImage]:
        """Return the images that the codec can decode, by their position in the claim."""
        start = time.monotonic()
        tensors = self._codec.decode([jpeg.data for jpeg in chunk])
        parts = {jpeg: jpeg.parts(each) for jpeg, each in zip(chunk, tensors, strict=True) if jpeg.fits(each)}
        pixels = self._resizer.resize(list(chain.from_iterable(parts.values())))
        seconds = time.monotonic() - start
        starts = accumulate(map(len, parts.values()), initial=0)
        return {
            jpeg.position: DecodedImage(pixels[at : at + len(jpeg.boxes)], seconds)
            for jpeg, at in zip(parts, starts, strict=False)
        }

    def check(self) -> None:
        """Decode some images on the card and with Pillow, and compare the pixels.

        Raises:
            ValueError: the card can't decode an image, or the pixels differ too much.
        """
        images = _check_images(self._spec)
        (chunk,) = _chunks(list(images.values()), self._spec.max_pixels)
        decoded = self._decode_chunk(chunk)
        for position, (name, image) in enumerate(images.items()):
            if position not in decoded:
                raise ValueError(f"a {name} JPEG can't be decoded on the card")
            wanted = decode(*image, self._spec)
            difference = np.abs(decoded[position].pixels.astype(int) - wanted).mean()
            if difference > MAX_MEAN_DIFFERENCE:
                raise ValueError(f"a {name} JPEG differs from Pillow's pixels by {difference:.2f} of 255")

    def close(self) -> None:
        """End the other decoder."""
        self._rest.close()


def open_card_decoder(spec: PixelSpec, rest: Decoder) -> Decoder:
    """Return a decoder that uses the card. If this is impossible, log the reason and return `rest`."""
    try:
        decoder = CardDecoder(spec, JpegCodec(), rest)
        decoder.check()
    except Exception as error:  # TensorFlow and nvImageCodec raise exceptions of many types.
        logger.warning("JPEG images not decoded on the card, Pillow used: %s", " ".join(str(error).split()))
        return rest
    return decoder


def _chunks(images: Sequence[EncodedImage], max_pixels: int) -> Iterator[list[_PlainJpeg]]:
    """Yield the plain JPEG images in chunks of at most `MAX_CHUNK_PIXELS` pixels."""
    chunk: list[_PlainJpeg] = []
    for position, image in enumerate(images):
        jpeg = _plain_jpeg(position, image, min(max_pixels, MAX_CHUNK_PIXELS))
        if jpeg and chunk and sum(each.pixels for each in chunk) + jpeg.pixels > MAX_CHUNK_PIXELS:
            yield chunk
            chunk = []
        if jpeg:
            chunk.append(jpeg)
    if chunk:
        yield chunk


def _plain_jpeg(position: int, image: EncodedImage, max_pixels: int) -> _PlainJpeg | None:
    """Return the image if the card can decode it. Pillow refuses damaged images with the reason."""
    data, regions = image
    try:
        opened = open_image(data, max_pixels)
        boxes = region_boxes(opened, regions)
    except ImageError:
        return None
    return _PlainJpeg(position, data, opened, boxes) if _is_plain(opened, data) else None


def _is_plain(opened: OpenedImage, data: bytes) -> bool:
    """Return whether an image is a complete JPEG image in grey or in YCbCr, with 8 bits per sample."""
    image: Any = opened.image
    if opened.format != "JPEG" or max(image.size) > MAX_SIDE or image.mode not in ("L", "RGB"):
        return False
    components = [component for component, *_ in image.layer]
    # Without a JFIF header, these numbers of components and this transform mean YCbCr, as in libjpeg.
    is_ycbcr = components == [1, 2, 3] and image.info.get("adobe_transform", 1) == 1
    # nvJPEG would fill the missing part of a truncated image. Pixel data never contains this marker.
    is_complete = data.rfind(_END_OF_IMAGE, image.fp.tell()) >= 0
    return (is_ycbcr or len(components) == 1) and is_complete


def _check_images(spec: PixelSpec) -> dict[str, EncodedImage]:
    """Return the images of the check: smooth noise of 1280×960 pixels, by kind of JPEG."""
    size = (1280, 960)
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    turned = Image.Exif()
    turned[_ORIENTATION] = 6
    regions = [Region(31, 17, 700)]
    return {
        "4:2:0": (_jpeg(image, subsampling=2), None),
        "4:4:4": (_jpeg(image, subsampling=0), regions),
        "4:2:2": (_jpeg(image, subsampling=1, exif=turned), None),
        "progressive": (_jpeg(image, progressive=True), regions),
        "grey": (_jpeg(image.convert("L")), None),
    }


def _jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, **options)
    return file.getvalue()
