"""Changes Pillow's image readers so that reading an uploaded image needs less time and memory.

This code was checked with Pillow 13.0.0. The tests in tests/unit/test_images.py check each change.

- GIF: when Pillow reads a GIF header, it allocates memory for the second frame. A GIF file of 90 bytes can
  make Pillow allocate 4 GB. With the changed GIF reader, Pillow allocates no memory for the second frame.
- JPEG: Pillow skips the pixel density and the quantization tables. In an MPO file, Pillow reads only the
  first image. Reading a phone photo's header takes 110 µs with Pillow's reader and 40 µs with the changed
  JPEG reader. For a thumbnail's header, the CPU runs 13 % fewer instructions than with Pillow's JPEG reader.
- JPEG: kinds that libjpeg can't decode are named, instead of being called damaged.
- TIFF: Pillow reads separate color planes as if each plane had 8 bits, unless the file is compressed. The
  changed reader leaves all files with planes to libtiff. It also reads 16-bit big-endian images in which
  white is zero, and names unsupported pixel formats.
- AVIF: Pillow would decode each image in as many threads as there are cores, and parse all EXIF values.
- PNG: the texts in one PNG header may have at most 16 MiB after decompression. Pillow's default maximum is
  64 MiB.
- Pillow's own pixel limit is off, because the service has the setting `MAX_IMAGE_PIXELS`.
- Pillow's warnings about malformed uploads are off, because Python would keep every warning in memory.
"""

import io
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

import PIL.WebPImagePlugin  # noqa: F401 (otherwise the first request would import all plugins)
from PIL import AvifImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin
from PIL import TiffImagePlugin as Tiff

READABLE = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
"""Pillow's names of the supported formats.

An MPO file contains several JPEG images. Only the first image of an MPO file is read."""

MAX_TEXT_BYTES = 16 * 2**20
"""Maximum total size of the decompressed texts in a PNG header, in bytes."""

_QUANTIZATION_TABLES = 0xFFDB
_UNSUPPORTED_FRAMES = {
    **dict.fromkeys((0xFFC5, 0xFFC6, 0xFFC7, 0xFFCD, 0xFFCE, 0xFFCF), "a hierarchical JPEG"),
    0xFFF7: "a JPEG-LS image",
}
_FRAMES = (0xFFC0, 0xFFC1, 0xFFC2, 0xFFC3, 0xFFC9, 0xFFCA, 0xFFCB)
_COMPRESSION, _PHOTOMETRIC, _PLANES = 259, 262, 284
_SAMPLE_BITS, _SAMPLE_FORMAT = 258, 339
_FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}


class UnsupportedKind(Exception):
    """Raised if an image is not damaged, but of a kind that is not supported. The message names the kind."""


def _with_global(function: Any, module: Any, **values: object) -> Callable[..., Any]:
    """Return a copy of a function for which some global values of its module are different.

    Pillow reads these values from its modules, which all threads share.
    """
    return FunctionType(function.__code__, {**vars(module), **values})


load_truncated = _with_global(ImageFile.ImageFile.load, ImageFile, LOAD_TRUNCATED_IMAGES=True)
"""Decodes the pixels of a truncated image. The missing pixels are black.

This function is for the formats that `PIL.ImageFile.ImageFile.load` decodes: PNG, GIF, BMP and uncompressed
TIFF."""


class _FirstFrame(GifImagePlugin.GifImageFile):
    """A subclass of Pillow's GIF reader that reads only the first frame."""

    disposal_method = property(lambda _: 0, lambda _, method: None)


class _FirstPicture(JpegImagePlugin.JpegImageFile):
    """A subclass of Pillow's JPEG reader that reads only a file's first image.

    This JPEG reader skips the pixel density.
    """

    def _read_dpi_from_exif(self) -> None:
        pass


def _read_frame(image: Any, marker: int) -> None:
    try:
        JpegImagePlugin.SOF(image, marker)
    except SyntaxError:
        kind = f"a JPEG image with {image.bits} bits per sample"
        if image.bits == 8:
            kind = f"a JPEG image with {image.layers} channels"
        raise UnsupportedKind(kind) from None


def _refuse_frame(image: Any, marker: int) -> None:
    raise UnsupportedKind(_UNSUPPORTED_FRAMES[marker])


class _Tiff(Tiff.TiffImageFile):
    """A subclass of Pillow's TIFF reader that reads separate color planes rightly."""

    _setup_with_libtiff = _with_global(Tiff.TiffImageFile._setup, Tiff, READ_LIBTIFF=True)

    def _setup(self) -> None:
        if self.tag_v2.get(_COMPRESSION, 1) not in Tiff.COMPRESSION_INFO:
            raise UnsupportedKind(f"a TIFF image with the compression {self.tag_v2[_COMPRESSION]}")
        has_planes = self.tag_v2.get(_PLANES, 1) == 2
        try:
            self._setup_with_libtiff() if has_planes else super()._setup()
        except SyntaxError as error:
            if "pixel mode" not in str(error):
                raise
            raise UnsupportedKind(self._kind()) from None

    def _kind(self) -> str:
        bits = "+".join(map(str, self.tag_v2.get(_SAMPLE_BITS, (1,))[:8]))
        form = _FORMATS.get(self.tag_v2.get(_SAMPLE_FORMAT, (1,))[0], "whole-number")
        color = self.tag_v2.get(_PHOTOMETRIC, 0)
        return f"a TIFF image with {form} samples of {bits} bits in color space {color}"


class _Avif(AvifImagePlugin.AvifImageFile):
    """A subclass of Pillow's AVIF reader that reads only the first frame, in one thread."""

    def _open(self) -> None:
        assert self.fp is not None  # noqa: S101 (for the type checker)
        if not AvifImagePlugin.SUPPORTED:  # Pillow was built without libavif
            raise UnsupportedKind("an AVIF image")
        from PIL import _avif

        self._decoder = _avif.AvifDecoder(self.fp.read(), "auto", 1)
        self._size, _, self._mode, _, _, orientation, _ = self._decoder.get_info()
        # The boxes of an AVIF file decide its orientation, not its EXIF data.
        self.info["orientation"] = orientation
        self.n_frames, self.is_animated = 1, False
        self.seek(0)


def open_header(file: io.BytesIO) -> Image.Image:
    """Read an image's header with Pillow. Malformed data can cause exceptions of many types."""
    return Image.open(file, formats=READABLE)


def _change_pillow() -> None:
    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT_BYTES
    Image.preinit()  # imports Pillow's plugins now, because otherwise the first request would import them
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # Pillow needs quantization tables only to save a JPEG, and libjpeg itself detects damaged tables.
    JpegImagePlugin.MARKER[_QUANTIZATION_TABLES] = ("DQT", "quantization tables", JpegImagePlugin.Skip)
    markers: dict[int, Any] = JpegImagePlugin.MARKER
    markers |= {marker: ("SOF", "start of frame", _read_frame) for marker in _FRAMES}
    markers |= {marker: ("SOF", kind, _refuse_frame) for marker, kind in _UNSUPPORTED_FRAMES.items()}
    Tiff.OPEN_INFO[(Tiff.MM, 0, (1,), 1, (16,), ())] = ("I;16B", "I;16B")
    Image.register_open("TIFF", _Tiff, lambda start: start.startswith(tuple(Tiff.PREFIXES)))
    Image.register_open("AVIF", _Avif, lambda start: bool(AvifImagePlugin._accept(start)))
    Image.register_open("JPEG", _FirstPicture, lambda start: start.startswith(b"\xff\xd8\xff"))
    Image.register_open("GIF", _FirstFrame, lambda start: start.startswith((b"GIF87a", b"GIF89a")))


_change_pillow()
