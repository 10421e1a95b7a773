"""What both sides must know of an uploaded image before its pixels are decoded.

The gateway refuses by it, the worker decodes by it, so that both mean the same by "upright" and "readable".
"""

import io
from dataclasses import dataclass

from PIL import ExifTags, Image

READABLE = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Pillow's names of the formats that are tried. Its JPEG reader also gives MPO, the JPEGs of many phones."""

# Pixels are counted here, against the service's own bound; Pillow's guard would warn or raise by another.
Image.MAX_IMAGE_PIXELS = None
Image.preinit()  # now, rather than in the first request

_SIGNATURES = (
    (b"ftypheic", 4, "a HEIC image"),
    (b"ftypheix", 4, "a HEIC image"),
    (b"ftypmif1", 4, "a HEIF image"),
    (b"ftypavif", 4, "an AVIF image"),
    (b"ftyp", 4, "a video or a HEIF image"),
    (b"\x00\x00\x00\x0cjP", 0, "a JPEG 2000 image"),
    (b"\xff\x0a", 0, "a JPEG XL image"),
    (b"%PDF", 0, "a PDF document"),
    (b"<svg", 0, "an SVG drawing"),
    (b"<?xml", 0, "an XML document"),
    (b"<!DOCTYPE", 0, "a web page"),
    (b"<html", 0, "a web page"),
    (b"{", 0, "JSON text"),
    (b"PK\x03\x04", 0, "a ZIP archive"),
)
_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"RIFF": "WebP",
    b"BM": "BMP",
}


class ImageError(ValueError):
    """An upload that can't be classified; the message tells its sender why and what to do.

    `kind` is 'unsupported' (not an image that is read), 'damaged' or 'too-large'.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class OpenedImage:
    """An image whose header was read: its size in pixels is that of the upright image."""

    image: Image.Image
    width: int
    height: int
    orientation: int
    """The EXIF orientation, 1 to 8, that is still to be applied."""
    format: str


def open_image(data: bytes, max_pixels: int) -> OpenedImage:
    """Read an image's header; its pixels are not decoded.

    Raises:
        ImageError: not an image that is read, a broken header, or more than `max_pixels`.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=READABLE)
    except (
        Exception
    ) as error:  # hostile bytes make Pillow raise a dozen kinds, from SyntaxError to MemoryError
        raise _refusal(data, error) from None
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError("damaged", f"the image's header is damaged: it says {width}×{height} pixels")
    if width * height > max_pixels:
        detail = f"the image has {width}×{height} pixels, more than the {max_pixels} allowed; send it smaller"
        raise ImageError("too-large", detail)
    if image.mode in ("I", "F"):
        detail = f"the image has 32 bits a sample (mode {image.mode}); save it with 8 or 16 bits"
        raise ImageError("unsupported", detail)
    orientation = _orientation(image)
    if orientation >= 5:
        width, height = height, width
    return OpenedImage(image, width, height, orientation, image.format or "")


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow turns a TIFF upright by itself, its size included
    try:
        # The base class's method: PNG's own one decodes all pixels to look for EXIF behind them.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block is no reason to refuse the picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _refusal(data: bytes, error: Exception) -> ImageError:
    if not data:
        return ImageError("unsupported", "the file is empty")
    for start, name in _STARTS.items():
        if data.startswith(start):
            return ImageError("damaged", f"the {name} image's header is damaged: {_sentence(error)}")
    supported = "send a JPEG, PNG, WebP, BMP, GIF or TIFF image"
    head = data.lstrip()[:64]
    for signature, offset, name in _SIGNATURES:
        if head[offset:].startswith(signature):
            return ImageError("unsupported", f"the file is {name}, which is not read; {supported}")
    return ImageError("unsupported", f"the file is not an image of a known kind; {supported}")


def _sentence(error: Exception) -> str:
    """Pillow's reason on one line, without the memory address of our buffer."""
    text = " ".join(str(error).split())
    return "it can't be read" if not text or "BytesIO" in text else text[:200]
