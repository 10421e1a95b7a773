"""Changes to Pillow's readers: no work that a classification does not need, and no unbounded work.

Seen with Pillow 13.0.0. tests/unit/test_images.py guards each change:

- GIF: the canvas of the second frame is not made. Pillow makes it with the header: 4 GB for 90 bytes.
- JPEG: density, further pictures (MPO) and quantization tables are not read. A phone photo's header took
  110 µs and takes 40 µs, in gateway and worker. A thumbnail's header needs 13 % fewer instructions.
- PNG: the texts of one header unpack to at most 16 MiB (Pillow: 64 MiB).
- Pillow's own limit of pixels is off, because the service has its own limit.
- Pillow's warnings are off. They describe malformed bytes of uploads, and Python would keep every text.
"""

import io
import warnings

import PIL.WebPImagePlugin  # noqa: F401 (otherwise the first request imports all plugins to find this one)
from PIL import GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin

READABLE = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Pillow's names of the supported formats. An MPO (several pictures of a phone) is read as its first JPEG."""

MAX_TEXT_BYTES = 16 * 2**20
"""Maximum size of a PNG header's unpacked texts, in bytes."""

_QUANTIZATION_TABLES = 0xFFDB


class _FirstFrame(GifImagePlugin.GifImageFile):
    """A GIF whose first frame is read alone."""

    disposal_method = property(lambda _: 0, lambda _, method: None)


class _FirstPicture(JpegImagePlugin.JpegImageFile):
    """A JPEG of which size, orientation and pixels are read."""

    def _read_dpi_from_exif(self) -> None:
        pass


def open_header(file: io.BytesIO) -> Image.Image:
    """Read an image's header; malformed bytes make Pillow raise exceptions of many kinds."""
    return Image.open(file, formats=READABLE)


def _change_pillow() -> None:
    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT_BYTES
    Image.preinit()  # now, instead of in the first request
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # Saving alone needs the tables, and libjpeg finds damaged tables itself.
    JpegImagePlugin.MARKER[_QUANTIZATION_TABLES] = ("DQT", "quantization tables", JpegImagePlugin.Skip)
    Image.register_open("JPEG", _FirstPicture, lambda start: start.startswith(b"\xff\xd8\xff"))
    Image.register_open("GIF", _FirstFrame, lambda start: start.startswith((b"GIF87a", b"GIF89a")))


_change_pillow()
