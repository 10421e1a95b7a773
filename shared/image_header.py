"""What both sides must know of an uploaded image before its pixels are decoded.

The gateway refuses by it, the worker decodes by it, so that both mean the same by "upright" and "readable".
"""

import io
import math
import re
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import PIL.WebPImagePlugin  # noqa: F401 (else the first request would look for it in every plugin of Pillow)
from PIL import GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

READABLE = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Pillow's names of the formats that are tried; an MPO, as phones write it, is the JPEG it begins with."""

MAX_READS = 100_000
"""Reads that a header may take: a million tiny segments would cost seconds and gigabytes."""

MAX_VALUES = 50_000
"""Values that one tag of a TIFF may have: millions of strips would cost as much."""

# Pixels are counted here, against the service's own bound; Pillow's guard would warn or raise by another.
Image.MAX_IMAGE_PIXELS = None
PngImagePlugin.MAX_TEXT_MEMORY = (
    16 * 2**20
)  # bytes of text that one header unpacks to; Pillow's own is 64 MiB
Image.preinit()  # now, rather than in the first request
# They tell of odd bytes in uploads, and Python would remember each text for ever.
warnings.filterwarnings("ignore", module=r"PIL\.")


class _FirstFrame(GifImagePlugin.GifImageFile):
    """A GIF of which only the first frame is wanted.

    What the second would be drawn on is not made, which Pillow does with the header: four gigabytes for a
    GIF of 90 bytes.
    """

    disposal_method = property(lambda _: 0, lambda _, method: None)


class _Jpeg(JpegImagePlugin.JpegImageFile):
    """A JPEG of which only size, orientation and pixels are wanted.

    Pillow would read all of EXIF for a density, and look for further pictures behind the first (an MPO).
    """

    def _read_dpi_from_exif(self) -> None:
        pass


# Only saving needs them, and they take a fifth of a small image's header; a broken one is libjpeg's to find.
JpegImagePlugin.MARKER[0xFFDB] = ("DQT", "quantization tables", JpegImagePlugin.Skip)
Image.register_open("JPEG", _Jpeg, lambda start: start.startswith(b"\xff\xd8\xff"))
Image.register_open("GIF", _FirstFrame, lambda start: start.startswith((b"GIF87a", b"GIF89a")))

_READ = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG",
    "GIF": rb"GIF8",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WebP": rb"RIFF.{4}WEBP",
    "BMP": rb"BM.{4}\0{4}",
}
_NOT_READ = {
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
"""What a file is whose first kilobyte begins so; the first that fits."""

_ORIENTATION, _TILE_WIDTH, _TILE_LENGTH = 0x0112, 0x0142, 0x0143
_CUT_SHORT = (struct.error, OverflowError)
_BYTE_TYPES = (1, 2, 6, 7)
"""Types of TIFF tags that stay bytes; of all others each value becomes a Python object."""


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
    image = _open(data)
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError("damaged", f"the image's header is damaged: it says {width}×{height} pixels")
    _check_pixels("the image has", width, height, max_pixels)
    if image.mode in ("I", "F"):
        detail = f"the image has 32 bits or a sign in each sample (mode {image.mode})"
        raise ImageError("unsupported", f"{detail}; save it with 8 or 16 bits")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # A tile is decoded as a whole, however small the image is.
        _check_pixels("the image's tiles have", *_tile(image), max_pixels)
        return OpenedImage(image, width, height, 1, "TIFF")  # Pillow turns it, and its size, by itself
    orientation = _orientation(image.info.get("exif", b""))
    if orientation >= 5:
        width, height = height, width
    return OpenedImage(image, width, height, orientation, image.format or "")


class _Header(io.BytesIO):
    """A file that can be read only so often."""

    reads_left: float = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise ImageError("damaged", "the image's header has too many parts; save the image anew")
        return super().read(size)


def _open(data: bytes) -> Image.Image:
    # A short file can't have many parts: it is read without counting, in two thirds of the time.
    file = _Header(data) if len(data) > MAX_READS else io.BytesIO(data)
    try:
        _check_tags(data)
        image = Image.open(file, formats=READABLE)
    except ImageError:
        raise
    except (
        Exception
    ) as error:  # hostile bytes make Pillow raise a dozen kinds, from SyntaxError to MemoryError
        raise _refusal(data, error) from None
    if isinstance(file, _Header):
        file.reads_left = math.inf  # the bound is the header's; pixels may take more
    # Only EXIF turns an image, as in browsers and OpenCV. Pillow would turn a TIFF by its XMP too, and tell
    # the size of the turned image only after that.
    image.info.pop("xmp", None)
    return image


def _check_pixels(what: str, width: int, height: int, most: int) -> None:
    if width * height > most:
        detail = f"{what} {width}×{height} pixels, more than the {most} allowed; send it smaller"
        raise ImageError("too-large", detail)


class _Tag(NamedTuple):
    """A tag of a TIFF or of EXIF: how many values it has, and the first where that is a SHORT or LONG."""

    id: int
    type: int
    values: int
    first: int


def _tags(data: bytes) -> Iterator[_Tag]:
    """The tags of a TIFF's first directory; EXIF is a TIFF of which only tags are left.

    Raises:
        struct.error, OverflowError: it ends before they do.
    """
    order = "<" if data.startswith(b"II") else ">"
    (version,) = struct.unpack_from(order + "H", data, 2)
    at, count, entry = ("8xQ", "Q", "HHQ8s") if version == 43 else ("4xI", "H", "HHI4s")
    (place,) = struct.unpack_from(order + at, data)
    (entries,) = struct.unpack_from(order + count, data, place)
    place += struct.calcsize(count)
    for _ in range(min(entries, MAX_READS)):  # Pillow gets no further either
        name, kind, values, field = struct.unpack_from(order + entry, data, place)
        form = {3: "H", 4: "I"}.get(kind)
        yield _Tag(name, kind, values, struct.unpack_from(order + form, field)[0] if form else 0)
        place += struct.calcsize("=" + entry)


def _check_tags(data: bytes) -> None:
    if not re.match(_READ["TIFF"], data):
        return
    try:
        for tag in _tags(data):
            # Pillow skips a tag with more values than the file has room for.
            if MAX_VALUES < tag.values <= len(data) // 2 and tag.type not in _BYTE_TYPES:
                detail = f"tag {tag.id} of the TIFF image has {tag.values} values"
                raise ImageError("damaged", f"{detail}; save the image anew, in fewer strips")
    except _CUT_SHORT:
        return  # Pillow says whether what is missing matters


def _tile(image: TiffImagePlugin.TiffImageFile) -> tuple[int, int]:
    width, height = image.tag_v2.get(_TILE_WIDTH, 1), image.tag_v2.get(_TILE_LENGTH, 1)
    if not (isinstance(width, int) and isinstance(height, int)):
        raise ImageError("damaged", "the image's header is damaged: its tiles have no size")
    return width, height


def _orientation(exif: bytes) -> int:
    """What a block of EXIF says; 1 where it says nothing, or is broken.

    Pillow's own reader is not asked: it decodes all pixels of a PNG to look for EXIF behind them.
    """
    if not exif:
        return 1
    try:
        for tag in _tags(re.sub(rb"^(Exif\0\0)+", b"", exif)):
            if tag.id == _ORIENTATION:
                return tag.first if 1 <= tag.first <= 8 else 1
    except _CUT_SHORT:  # no reason to refuse the picture
        return 1
    return 1


def _refusal(data: bytes, error: Exception) -> ImageError:
    if not data:
        return ImageError("unsupported", "the file is empty")
    head = data[:1024].removeprefix(b"\xef\xbb\xbf")  # of UTF-8 text
    name = _first_match(_READ, head)
    if name:
        return ImageError("damaged", f"the {name} image's header is damaged: {_sentence(error)}")
    supported = "send a JPEG, PNG, WebP, BMP, GIF or TIFF image"
    name = _first_match(_NOT_READ, head)
    if not name:
        return ImageError("unsupported", f"the file is not an image of a known kind; {supported}")
    advice = "convert it to JPEG" if "image" in name else supported
    return ImageError("unsupported", f"the file is {name}, which is not read; {advice}")


def _first_match(patterns: dict[str, bytes], head: bytes) -> str | None:
    return next((name for name, pattern in patterns.items() if re.match(pattern, head, re.DOTALL)), None)


def _sentence(error: Exception) -> str:
    """Pillow's reason on one line, without the memory address of our buffer."""
    text = " ".join(str(error).split())
    return "it can't be read" if not text or " object at 0x" in text else text[:200]
