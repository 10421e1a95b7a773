"""Checks of an uploaded image before its pixels are decoded.

The gateway refuses images by these checks and the worker decodes by them, so both agree on which images are
readable and how an image is upright.
"""

import io
import math
import re
from dataclasses import dataclass

from PIL import Image, TiffImagePlugin

from shared.pillow_compat import open_header
from shared.tiff_tags import BYTE_TYPES, MAX_TAGS, TRUNCATED, tags

MAX_READS = MAX_TAGS
"""Maximum number of reads for one header. A million tiny segments would cost seconds and gigabytes."""

MAX_VALUES = 50_000
"""Maximum number of values of one TIFF tag. Millions of strips would cost seconds and gigabytes."""

_SUPPORTED = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG",
    "GIF": rb"GIF8",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WebP": rb"RIFF.{4}WEBP",
    "BMP": rb"BM.{4}\0{4}",
}
"""Supported file types by the pattern of their first kilobyte."""

_UNSUPPORTED = {
    "a HEIC image": rb".{4}ftyphe[iv]",
    "an AVIF image": rb".{4}ftypavi[fs]",
    "a HEIF image": rb".{4}ftypm[is]f1",
    "a video or a HEIF image": rb".{4}ftyp",
    "a JPEG 2000 image": rb"\0{3}\x0cjP|\xff\x4f\xff\x51",
    "a JPEG XL image": rb"\0{3}\x0cJXL|\xff\x0a",
    "a Photoshop image": rb"8BPS",
    "a PDF document": rb"%PDF",
    "a ZIP archive": rb"PK\x03\x04",
    "a web page": rb"(?i)\s*<(!doctype html|html)",
    "an SVG drawing": rb"\s*(<[?!].*)?<svg\b",
    "an XML document": rb"\s*<\?xml",
    "JSON text": rb"\s*\{",
}
"""Descriptions of unsupported file types by the pattern of their first kilobyte. The first match wins."""

_ORIENTATION, _TILE_WIDTH, _TILE_LENGTH = 0x0112, 0x0142, 0x0143


class ImageError(ValueError):
    """An upload that cannot be classified; the message tells the sender why and what to do.

    `kind` is 'unsupported' (the file type or form of pixels), 'damaged' or 'too-large'.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class OpenedImage:
    """An image whose header was read; `width` and `height` are those of the upright image, in pixels."""

    image: Image.Image
    width: int
    height: int
    orientation: int
    """The EXIF orientation, from 1 to 8, that the decoder has to apply."""
    format: str


def open_image(data: bytes, max_pixels: int) -> OpenedImage:
    """Read an image's header without decoding its pixels.

    Raises:
        ImageError: an unsupported file, a damaged header, or more than `max_pixels` pixels.
    """
    image = _open(data)
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError("damaged", f"the image's header is damaged: its size is {width}×{height} pixels")
    _check_pixels("image", width, height, max_pixels)
    if image.mode in ("I", "F"):
        detail = f"the image has samples of 32 bits or with a sign (mode {image.mode})"
        raise ImageError("unsupported", f"{detail}. Save it with 8 or 16 bits.")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # A decoder needs memory for whole tiles, however small the image is.
        _check_pixels("image's tile", *_tile(image), max_pixels)
        return OpenedImage(image, width, height, 1, "TIFF")  # Pillow itself applies a TIFF's orientation
    orientation = _orientation(image.info.get("exif", b""))
    if orientation >= 5:
        width, height = height, width
    return OpenedImage(image, width, height, orientation, image.format or "")


class _Header(io.BytesIO):
    """A file that allows a limited number of reads."""

    reads_left: float = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise ImageError("damaged", "the image's header has too many parts. Save the image again.")
        return super().read(size)


def _open(data: bytes) -> Image.Image:
    # A file of MAX_READS bytes has no more parts than that, and reading without counting is a third faster.
    file = _Header(data) if len(data) > MAX_READS else io.BytesIO(data)
    try:
        _check_tags(data)
        image = open_header(file)
    except ImageError:
        raise
    except Exception as error:  # Pillow raises a dozen kinds, from SyntaxError to MemoryError
        raise _refusal(data, error) from None
    if isinstance(file, _Header):
        file.reads_left = math.inf  # decoding the pixels may need more reads
    # EXIF alone sets the orientation, as in browsers and OpenCV. Pillow would also apply a TIFF's XMP, and it
    # would report the turned image's size only after that.
    image.info.pop("xmp", None)
    return image


def _check_pixels(subject: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        detail = f"the {subject} has {width}×{height} pixels, more than the maximum of {max_pixels}"
        raise ImageError("too-large", f"{detail}. Send a smaller image.")


def _check_tags(data: bytes) -> None:
    if not re.match(_SUPPORTED["TIFF"], data):
        return
    try:
        for tag in tags(data):
            # Pillow skips a tag that has more values than the file has room for.
            if MAX_VALUES < tag.values <= len(data) // 2 and tag.type not in BYTE_TYPES:
                detail = f"tag {tag.id} of the TIFF image has {tag.values} values, more than {MAX_VALUES}"
                raise ImageError("damaged", f"{detail}. Save the image again, in fewer strips.")
    except TRUNCATED:
        return  # Pillow decides whether the missing part matters


def _tile(image: TiffImagePlugin.TiffImageFile) -> tuple[int, int]:
    width, height = image.tag_v2.get(_TILE_WIDTH, 1), image.tag_v2.get(_TILE_LENGTH, 1)
    if not (isinstance(width, int) and isinstance(height, int)):
        raise ImageError("damaged", "the image's header is damaged: its tiles have no size")
    return width, height


def _orientation(exif: bytes) -> int:
    """Return an EXIF block's orientation; 1 where there is none or the block is malformed.

    Pillow's own reader is not used: it decodes all pixels of a PNG to look for EXIF behind them.
    """
    if not exif:
        return 1
    try:
        found = (tag.first for tag in tags(re.sub(rb"^(Exif\0\0)+", b"", exif)) if tag.id == _ORIENTATION)
        orientation = next(found, 1)
    except TRUNCATED:  # no reason to refuse the image
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _refusal(data: bytes, error: Exception) -> ImageError:
    if not data:
        return ImageError("unsupported", "the file is empty. Send an image.")
    head = data[:1024].removeprefix(b"\xef\xbb\xbf")  # UTF-8 text may begin with this mark
    name = _first_match(_SUPPORTED, head)
    if name:
        return ImageError("damaged", f"the {name} image's header is damaged: {_reason(error)}")
    supported = "Send a JPEG, PNG, WebP, BMP, GIF or TIFF image."
    name = _first_match(_UNSUPPORTED, head)
    if not name:
        return ImageError("unsupported", f"the file is not an image of a known type. {supported}")
    advice = "Convert it to JPEG." if "image" in name else supported
    return ImageError("unsupported", f"the file is {name}, which is not supported. {advice}")


def _first_match(patterns: dict[str, bytes], head: bytes) -> str | None:
    return next((name for name, pattern in patterns.items() if re.match(pattern, head, re.DOTALL)), None)


def _reason(error: Exception) -> str:
    """Return Pillow's reason on one line; a memory address of the buffer is left out."""
    text = " ".join(str(error).split())
    return "it cannot be read" if not text or " object at 0x" in text else text[:200]
