"""Checks an uploaded image by its header, before its pixels are decoded.

Gateway and worker both use these checks. Therefore gateway and worker accept the same images and find the
same EXIF orientation.
"""

import io
import math
import re
from dataclasses import dataclass

from PIL import Image, TiffImagePlugin

from shared.jpeg_scan import scan_jpeg
from shared.pillow_compat import open_header
from shared.tiff_tags import BYTE_TYPES, MAX_TAGS, TRUNCATED, tags

MAX_READS = MAX_TAGS
"""Maximum number of read calls that Pillow may make for one image's header.

Without this limit, reading a header of a million tiny segments would take seconds and gigabytes of memory."""

MAX_VALUES = 50_000
"""Maximum number of values of one TIFF tag.

A TIFF image can consist of millions of strips, with one tag value for each strip. Without this limit, reading
the header of such an image would take seconds and gigabytes of memory."""

_SUPPORTED = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG",
    "GIF": rb"GIF8",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WebP": rb"RIFF.{4}WEBP",
    "BMP": rb"BM.{4}\0{4}",
}
"""Names of the supported file types, each with a pattern that matches the file's first bytes."""

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
"""Descriptions of unsupported file types, each with a pattern that matches the file's first kilobyte.

If several patterns match a file, the first pattern decides the file's type."""

_ORIENTATION, _TILE_WIDTH, _TILE_LENGTH = 0x0112, 0x0142, 0x0143


class ImageError(ValueError):
    """Raised if an uploaded image cannot be classified.

    The message contains the reason and a suggested action for the sender.

    `kind` is 'unsupported', 'damaged' or 'too-large'. The kind is 'unsupported' if the service
    does not support the image's file type or pixel format.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class OpenedImage:
    """The result of reading an image's header.

    `width` and `height` are the image's size in pixels after the EXIF orientation is applied.
    """

    image: Image.Image
    width: int
    height: int
    orientation: int
    """The image's EXIF orientation (1 to 8), which the decoder has to apply to the pixels."""
    format: str


def open_image(data: bytes, max_pixels: int) -> OpenedImage:
    """Read an image's header without decoding its pixels.

    Raises:
        ImageError: the file type is unsupported, the header is damaged, or the image has too many pixels.
    """
    image = _open(data)
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError("damaged", f"the image's header is damaged: its size is {width}×{height} pixels")
    _check_pixels("image", width, height, max_pixels)
    if image.mode in ("I", "F"):
        detail = f"the image has 32-bit or signed samples (mode {image.mode})"
        raise ImageError("unsupported", f"{detail}. Save it with 8 or 16 bits per sample.")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # A TIFF decoder needs memory for a whole tile, even if the image is smaller than the tile.
        _check_pixels("image's tile", *_tile(image), max_pixels)
        # Pillow itself rotates a TIFF image by its orientation
        return OpenedImage(image, width, height, 1, "TIFF")
    orientation = _orientation(image.info.get("exif", b""))
    if orientation >= 5:
        width, height = height, width
    return OpenedImage(image, width, height, orientation, image.format or "")


def upright_size(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Return an image's width and height in pixels after the EXIF orientation is applied.

    The result is the same as with `open_image`, but most JPEG images need only a third of the time.

    Raises:
        ImageError: the same as in `open_image`.
    """
    jpeg = scan_jpeg(data)
    if jpeg is None or jpeg.width * jpeg.height > max_pixels:
        opened = open_image(data, max_pixels)
        return opened.width, opened.height
    size = (jpeg.width, jpeg.height)
    return size[::-1] if _orientation(jpeg.exif) >= 5 else size


class _Header(io.BytesIO):
    """An uploaded file in memory. Every read call after the first `MAX_READS` raises `ImageError`."""

    reads_left: float = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise ImageError("damaged", "the image's header has too many parts. Save the image again.")
        return super().read(size)


def _open(data: bytes) -> Image.Image:
    # A file of at most MAX_READS bytes cannot cause more than MAX_READS reads. If the reads of such a file
    # are not counted, reading its header takes a third less time.
    file = _Header(data) if len(data) > MAX_READS else io.BytesIO(data)
    try:
        _check_tags(data)
        image = open_header(file)
    except ImageError:
        raise
    except Exception as error:  # Pillow raises a dozen exception types, from SyntaxError to MemoryError
        raise _refusal(data, error) from None
    if isinstance(file, _Header):
        file.reads_left = math.inf  # decoding the pixels may need more reads than the header
    # Only EXIF data sets the orientation, as in browsers and OpenCV. Pillow would also use the orientation in
    # a TIFF's XMP data, and would report the rotated image's size only after decoding the pixels.
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
            # Pillow ignores a tag with more values than fit into the file.
            if MAX_VALUES < tag.values <= len(data) // 2 and tag.type not in BYTE_TYPES:
                detail = f"tag {tag.id} of the TIFF image has {tag.values} values, more than {MAX_VALUES}"
                raise ImageError("damaged", f"{detail}. Save the image again, in fewer strips.")
    except TRUNCATED:
        return  # the file is truncated: Pillow decides whether the missing part matters


def _tile(image: TiffImagePlugin.TiffImageFile) -> tuple[int, int]:
    width, height = image.tag_v2.get(_TILE_WIDTH, 1), image.tag_v2.get(_TILE_LENGTH, 1)
    if not (isinstance(width, int) and isinstance(height, int)):
        raise ImageError("damaged", "the image's header is damaged: its tiles have no size")
    return width, height


def _orientation(exif: bytes) -> int:
    """Return the orientation in an EXIF block, or 1 if the block contains no valid orientation.

    This function does not use Pillow's EXIF reader. In a PNG file, EXIF data can follow the pixels. To find
    such EXIF data, Pillow's reader would decode all pixels.
    """
    if not exif:
        return 1
    try:
        found = (tag.first for tag in tags(re.sub(rb"^(Exif\0\0)+", b"", exif)) if tag.id == _ORIENTATION)
        orientation = next(found, 1)
    except TRUNCATED:  # an image with a truncated EXIF block is not refused
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _refusal(data: bytes, error: Exception) -> ImageError:
    if not data:
        return ImageError("unsupported", "the file is empty. Send an image.")
    head = data[:1024].removeprefix(b"\xef\xbb\xbf")  # this byte order mark may precede UTF-8 text
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
    """Return the message of Pillow's error as one line.

    If the message is empty or contains a memory address, the function returns a general text instead.
    """
    text = " ".join(str(error).split())
    return "it cannot be read" if not text or " object at 0x" in text else text[:200]
