"""Checks an uploaded image by its header, before its pixels are decoded.

Gateway and worker both use these checks. Therefore gateway and worker accept the same images and find the
same EXIF orientation.
"""

import io
import math
import re
from dataclasses import dataclass

from PIL import Image, TiffImagePlugin

from shared.avif_frames import MALFORMED, frame_sizes
from shared.file_types import file_type
from shared.image_error import ImageError as ImageError  # other modules import it from here
from shared.jpeg_scan import coefficient_bytes, scan_jpeg
from shared.pillow_compat import UnsupportedKind, open_header
from shared.tiff_check import check_tiff
from shared.tiff_tags import MAX_TAGS, TRUNCATED, tags

MAX_READS = MAX_TAGS
"""Maximum number of read calls that Pillow may make for one image's header.

Without this limit, reading a header of a million tiny segments would take seconds and gigabytes of memory."""

MAX_AVIF_PIXELS = 55_000_000
"""Maximum number of pixels of an AVIF image. Decoding an AVIF image needs 9 bytes of memory per pixel."""

MAX_COEFFICIENT_BYTES = 400_000_000
"""Maximum size of the coefficients of a JPEG image with more than `max_pixels` pixels, in bytes.

As many bytes are needed for 100 million pixels that are decoded at full scale."""

_TILE_WIDTH, _TILE_LENGTH, _BITS, _COLORS = 0x0142, 0x0143, 0x0102, 0x0106
_ORIENTATION = 0x0112


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
    sample_bits: int = 16
    """Number of bits of each sample, if the image's mode is one of Pillow's modes for 16 bits."""
    is_white_zero: bool = False
    """Whether samples of 16 bits have the value 0 for white. Pillow turns only samples of 8 bits."""


def open_image(data: bytes, max_pixels: int, max_jpeg_pixels: int = 0) -> OpenedImage:
    """Read an image's header without decoding its pixels.

    A JPEG image may have `max_jpeg_pixels` pixels. With more than `max_pixels` pixels, it must be decoded at
    a reduced scale.

    Raises:
        ImageError: the file type is unsupported, the header is damaged, or the image has too many pixels.
    """
    image = _open(data)
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError("damaged", f"the image's header is damaged: its size is {width}×{height} pixels")
    _check_size(data, image, max_pixels, max_jpeg_pixels)
    if image.mode in ("I", "F"):
        detail = f"the image has 32-bit or signed samples (mode {image.mode})"
        raise ImageError("unsupported", f"{detail}. Save it with 8 or 16 bits per sample.")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _opened_tiff(image, max_pixels)
    orientation = image.info.get("orientation") or _orientation(image.info.get("exif", b""))
    if orientation >= 5:
        width, height = height, width
    return OpenedImage(image, width, height, orientation, image.format or "")


def _opened_tiff(image: TiffImagePlugin.TiffImageFile, max_pixels: int) -> OpenedImage:
    # A TIFF decoder needs memory for a whole tile, even if the image is smaller than the tile.
    _check_pixels("image's tile", *_tile(image), max_pixels)
    is_white_zero = image.mode.startswith("I;16") and image.tag_v2.get(_COLORS) == 0
    bits = min(image.tag_v2.get(_BITS, (16,))[0], 16)
    # Pillow itself rotates a TIFF image by its orientation
    return OpenedImage(image, *image.size, 1, "TIFF", bits, is_white_zero)


def upright_size(data: bytes, max_pixels: int, max_jpeg_pixels: int = 0) -> tuple[int, int]:
    """Return an image's width and height in pixels after the EXIF orientation is applied.

    The result is the same as with `open_image`, but most JPEG images need only a third of the time.

    Raises:
        ImageError: the same as in `open_image`.
    """
    jpeg = scan_jpeg(data)
    if jpeg is None or jpeg.width * jpeg.height > max_pixels:
        opened = open_image(data, max_pixels, max_jpeg_pixels)
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
    name = file_type(data).name
    if name == "TIFF":
        check_tiff(data)
    try:
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


def _check_size(data: bytes, image: Image.Image, max_pixels: int, max_jpeg_pixels: int) -> None:
    if image.format == "AVIF":
        max_pixels = min(max_pixels, MAX_AVIF_PIXELS)
        _check_frames(data, max_pixels)
    is_jpeg = image.format == "JPEG"
    _check_pixels("image", *image.size, max(max_pixels, max_jpeg_pixels) if is_jpeg else max_pixels)
    if is_jpeg and image.width * image.height > max_pixels:
        size = coefficient_bytes(data)
        if size is None or size > MAX_COEFFICIENT_BYTES:
            _check_pixels("image", *image.size, max_pixels, "Send a smaller image, or a baseline JPEG.")


def _check_frames(data: bytes, max_pixels: int) -> None:
    """Refuse an AVIF image whose coded frames are larger than its boxes promise, and too large."""
    try:
        sizes = frame_sizes(data)
    except MALFORMED:
        sizes = []
    if not sizes:
        raise ImageError("damaged", "the AVIF image's header is damaged: the size of its frames is missing")
    for width, height in sizes:
        _check_pixels("image's frame", width, height, max_pixels)


def _check_pixels(
    subject: str, width: int, height: int, max_pixels: int, advice: str = "Send a smaller image."
) -> None:
    if width * height > max_pixels:
        detail = f"the {subject} has {width}×{height} pixels, more than the maximum of {max_pixels}"
        raise ImageError("too-large", f"{detail}. {advice}")


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
    found = file_type(data)
    if isinstance(error, UnsupportedKind):
        detail = f"the file is {error}, which is not supported. Convert it to an image with 8 bits per sample"
        return ImageError("unsupported", f"{detail}, for example a JPEG.")
    if found.is_supported and re.match("(?i)unsupported", str(error)):
        detail = f"the {found.name} image is of a kind that is not supported ({_reason(error)})"
        return ImageError("unsupported", f"{detail}. Convert it to JPEG or PNG.")
    if found.is_supported:
        return ImageError("damaged", f"the {found.name} image's header is damaged: {_reason(error)}")
    if not found.name:
        return ImageError("unsupported", f"the file is not an image of a known type. {found.advice}")
    return ImageError("unsupported", f"the file is {found.name}, which is not supported. {found.advice}")


def _reason(error: Exception) -> str:
    """Return the message of Pillow's error as one line.

    If the message is empty or contains a memory address, the function returns a general text instead.
    """
    text = " ".join(str(error).split())
    return "it cannot be read" if not text or " object at 0x" in text else text[:200]
