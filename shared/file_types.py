"""Recognizes a file's type by its first bytes. The Python client uses this module too."""

import re
from typing import NamedTuple

HEAD_BYTES = 1024
"""Number of bytes at a file's start that decide the file's type."""

SUPPORTED = "JPEG, PNG, WebP, AVIF, BMP, GIF or TIFF"
"""Names of the supported file types, for messages."""

_SUPPORTED = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG",
    "GIF": rb"GIF8",
    "TIFF": rb"(II|MM)([*+]\0|\0[*+])",
    "WebP": rb"RIFF.{4}WEBP",
    "AVIF": rb".{4}ftyp(avi[fs]|m[is]f1.{4}(.{4}){0,20}avi[fs])",
    "BMP": rb"BM.{4}\0{4}",
}
"""Names of the supported file types, each with a pattern that matches the file's first bytes."""

_CR2 = rb"(II\*\0|MM\0\*).{4}CR"
"""Pattern of Canon's raw photos, which begin as TIFF images."""

_CONVERT = "Convert it to JPEG."
_HEIC = "Convert it to JPEG. On an iPhone, set Settings > Camera > Formats to Most Compatible."
_RAW = "Export it as JPEG."
_SEND = f"Send a {SUPPORTED} image."

_IMAGES = {
    "a HEIC image": (rb".{4}ftyphe[iv]", _HEIC),
    "a HEIF image": (rb".{4}ftypm[is]f1", _HEIC),
    "a raw photo of a camera": (
        _CR2 + rb"|.{4}ftypcrx|II(U\0|R[OS])|MMOR|FUJIFILMCCD-RAW|II.{4}HEAPCCDR|\0MRM|FOVb",
        _RAW,
    ),
    "a JPEG 2000 image": (rb"\0{3}\x0cjP|\xff\x4f\xff\x51", _CONVERT),
    "a JPEG XL image": (rb"\0{3}\x0cJXL|\xff\x0a", _CONVERT),
    "a JPEG XR image": (rb"II\xbc[\0\x01]", _CONVERT),
    "a Photoshop image": (rb"8BPS", _CONVERT),
    "a GIMP image": (rb"gimp xcf", _CONVERT),
    "a QOI image": (rb"qoif", _CONVERT),
    "an icon image": (rb"\0\0[\x01\x02]\0[^\0]|icns", _CONVERT),
    "a DDS image": (rb"DDS ", _CONVERT),
    "an OpenEXR image": (rb"\x76\x2f\x31\x01", _CONVERT),
    "a Radiance HDR image": (rb"#\?(RADIANCE|RGBE)", _CONVERT),
    "a PNM image": (rb"P[1-7]\s", _CONVERT),
    "a PCX image": (rb"\x0a[\0-\x05]\x01[\x01\x02\x04\x08]", _CONVERT),
    "an SGI image": (rb"\x01\xda[\0\x01][\x01\x02]", _CONVERT),
    "a DICOM image": (rb".{128}DICM", _CONVERT),
    "a FITS image": (rb"SIMPLE  =", _CONVERT),
    "an image as a data address (data:…;base64,…)": (
        rb"(?i)\s*data:[\w/+.;=-]*,",
        "Decode the base64 text after the comma, and send the bytes as a file.",
    ),
    "an image as base64 text": (
        rb"\s*(/9j/|iVBORw0KGgo|R0lGOD|UklGR|SUkqA|TU0AK|Qk0|AAAA[\w+/]{5}0eX)[\w+/=\s-]{20}",
        "Decode the base64 text, and send the bytes as a file.",
    ),
    "an image after blank lines or spaces": (
        rb"[\s\xef\xbb\xbf]+(\xff\xd8\xff|\x89PNG|GIF8|RIFF.{4}WEBP)",
        "Remove the bytes before the image, which a script may have printed.",
    ),
}
"""Images of unsupported file types: each with a pattern of the file's first kilobyte, and an advice.

If several patterns match a file, the first pattern decides the file's type."""

_OTHERS = {
    "a video or a HEIF image": rb".{4}ftyp",
    "a PDF document": rb"%PDF",
    "a PostScript document": rb"%!PS|\xc5\xd0\xd3\xc6",
    "a ZIP archive": rb"PK\x03\x04",
    "a Mac's description of another file": rb"\0\x05\x16[\0\x07]",
    "a Git LFS pointer": rb"version https://git-lfs",
    "a web page": rb"(?i)\s*<(!doctype html|html)",
    "an SVG drawing": rb"\s*(<[?!].*)?<svg\b",
    "an XML document": rb"\s*<\?xml",
    "JSON text": rb"\s*\{",
}
"""Descriptions of other file types, each with a pattern that matches the file's first kilobyte."""


class FileType(NamedTuple):
    """A file's type, as its first bytes show it.

    `name` is the name of a supported type, or the description of another type. `name` is empty if the type is
    unknown. `advice` is for the sender of an unsupported file.
    """

    name: str
    is_supported: bool
    is_image: bool
    advice: str


def file_type(data: bytes) -> FileType:
    """Return the type of a file, from the bytes at its start."""
    head = data[:HEAD_BYTES].removeprefix(b"\xef\xbb\xbf")  # this byte order mark may precede UTF-8 text
    name = _first(_SUPPORTED, head)
    if name and not (name == "TIFF" and re.match(_CR2, head, re.DOTALL)):
        return FileType(name, is_supported=True, is_image=True, advice="")
    if name := _first({name: pattern for name, (pattern, _) in _IMAGES.items()}, head):
        return FileType(name, is_supported=False, is_image=True, advice=_IMAGES[name][1])
    return FileType(_first(_OTHERS, head) or "", is_supported=False, is_image=False, advice=_SEND)


def _first(patterns: dict[str, bytes], head: bytes) -> str | None:
    return next((name for name, pattern in patterns.items() if re.match(pattern, head, re.DOTALL)), None)
