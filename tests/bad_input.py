"""Invalid requests, each with the status and the text fragments of its answer."""

import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import requests
from PIL import Image


def encoded(size: tuple[int, int] = (64, 48), form: str = "JPEG", mode: str = "RGB") -> bytes:
    """Return the bytes of an image of one grey colour."""
    out = io.BytesIO()
    Image.new(mode, size, 128 if mode != "RGB" else (120, 130, 140)).save(out, form)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """Return a PNG whose header specifies more pixels than its data contains."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@dataclass(frozen=True)
class BadCase:
    """An invalid request; the text of its answer contains all `fragments`."""

    name: str
    status: int
    fragments: tuple[str, ...] = ()
    blob: bytes | None = encoded()
    form: dict[str, Any] = field(default_factory=dict)
    method: str = "POST"
    path: str = "/classify"
    extra: dict[str, Any] = field(default_factory=dict)
    """Arguments of `requests.request` that replace the form."""

    def send(self, url: str) -> requests.Response:
        """Send the request to the gateway at `url`."""
        if self.extra or self.method != "POST":
            return requests.request(self.method, url + self.path, timeout=30, **self.extra)
        files = {"blob": ("photo.jpg", self.blob)} if self.blob is not None else {"other": ("o", b"x")}
        return requests.post(url + self.path, files=files, data=self.form, timeout=30)


def _regions(name: str, text: str, status: int, *fragments: str) -> BadCase:
    return BadCase(f"regions {name}", status, ("regions", *fragments), form={"regions": text})


def _top_n(text: str, status: int, *fragments: str) -> BadCase:
    return BadCase(f"top_n {text!r}", status, ("top_n", *fragments), form={"top_n": text})


def _blob(name: str, data: bytes, status: int, *fragments: str) -> BadCase:
    return BadCase(f"blob {name}", status, ("blob", *fragments), blob=data)


def _raw(
    name: str, status: int, fragments: tuple[str, ...], data: bytes, content_type: str | None
) -> BadCase:
    headers = {"Content-Type": content_type} if content_type else {}
    return BadCase(name, status, fragments, extra={"data": data, "headers": headers})


_JPEG, _PNG = encoded(), encoded(form="PNG")
_OPEN_FORM = b'--x\r\nContent-Disposition: form-data; name="blob"; filename="a.jpg"\r\n\r\n' + _JPEG[:100]
_TEXT_BLOB = b'--x\r\nContent-Disposition: form-data; name="blob"\r\n\r\nphoto.jpg\r\n--x--\r\n'
_TWO_TOPS = [("blob", ("a.jpg", _JPEG)), ("top_n", (None, "1")), ("top_n", (None, "2"))]
_TWO_BLOBS = [("blob", ("a.jpg", _JPEG)), ("blob", ("b.jpg", _JPEG))]

CASES = (
    BadCase("no blob", 400, ("blob", "expected an image"), blob=None),
    BadCase("no form at all", 415, ("multipart/form-data", "curl"), extra={"data": b""}),
    BadCase("empty multipart form", 400, ("blob", "an image"), extra={"files": [("top_n", (None, "5"))]}),
    BadCase("two blobs", 400, ("blob", "2 images"), extra={"files": _TWO_BLOBS}),
    _raw("blob as text", 400, ("blob", "@"), _TEXT_BLOB, "multipart/form-data; boundary=x"),
    _raw("JSON body", 415, ("application/json", "multipart/form-data"), b'{"blob": 1}', "application/json"),
    _raw("bare JPEG body", 415, ("image/jpeg", "multipart/form-data"), _JPEG, "image/jpeg"),
    _raw("multipart without a boundary", 400, ("blob",), _OPEN_FORM, "multipart/form-data"),
    _raw("multipart cut short", 400, ("blob",), _OPEN_FORM, "multipart/form-data; boundary=x"),
    _raw("multipart with another boundary", 400, ("blob",), _OPEN_FORM, "multipart/form-data; boundary=y"),
    _blob("empty", b"", 400, "empty"),
    _blob("text", b"this is not an image", 415, "JPEG, PNG"),
    _blob("HTML", b"<!DOCTYPE html><html></html>", 415, "web page"),
    _blob("PDF", b"%PDF-1.7 ...", 415, "PDF"),
    _blob("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(64), 415, "HEIC"),
    _blob("SVG", b"<svg xmlns='x'/>", 415, "SVG"),
    _blob("ZIP", b"PK\x03\x04" + bytes(64), 415, "ZIP"),
    _blob("JPEG's first bytes", _JPEG[:20], 422, "damaged"),
    _blob("JPEG cut in the middle", encoded((400, 300))[:-400], 422, "damaged"),
    _blob("PNG's first bytes", _PNG[:14], 422, "damaged"),
    _blob("PNG with broken pixels", _PNG[:60] + bytes(40), 422, "damaged"),
    _blob("PNG of 20000×20000", png_header(20_000, 20_000), 413, "20000×20000", "100000000"),
    _blob("PNG of no width", png_header(0, 10), 422, "damaged"),
    _blob("32-bit samples", encoded(form="TIFF", mode="F"), 415, "32-bit"),
    _blob("30 MB", _JPEG + bytes(30_000_000), 413, "20971520"),
    _blob("just over the maximum", _JPEG + bytes(20 * 2**20), 413, "20971520"),
    _regions("of text", "here", 400, "region 1", "x,y,side"),
    _regions("of two numbers", "1,2", 400, "region 1"),
    _regions("of four numbers", "1,2,3,4", 400, "region 1"),
    _regions("with a fraction", "1,2,3.5", 400, "region 1"),
    _regions("with nan", "nan,0,3", 400, "region 1"),
    _regions("with Arabic digits", "١,٢,٣", 400, "region 1"),
    _regions("with separators swapped", "1;2;30,4;5;60", 400, "region 1"),
    _regions("second wrong", "0,0,10;0,0", 400, "region 2"),
    _regions("empty between", "0,0,10;;0,0,10", 400, "region 2"),
    _regions("negative", "-1,0,10", 422, "region 1", "inside the image", "64×48"),
    _regions("of no size", "5,5,0", 422, "region 1", "at least 1"),
    _regions("of negative size", "5,5,-4", 422, "region 1"),
    _regions("outside to the right", "60,0,10", 422, "inside the image", "64×48"),
    _regions("outside below", "0,40,10", 422, "inside the image"),
    _regions("far outside", "9" * 4000 + ",0,10", 422, "inside the image"),
    _regions("too many", "0,0,10;" * 101, 422, "101", "100"),
    _top_n("0", 422, "at least 1"),
    _top_n("-1", 422, "at least 1"),
    _top_n("abc", 400, "whole number"),
    _top_n("1.5", 400, "whole number"),
    _top_n("", 400, "whole number"),
    BadCase("top_n twice", 400, ("top_n", "one value, got 2"), extra={"files": _TWO_TOPS}),
    BadCase("consolidate maybe", 400, ("consolidate", "maybe"), form={"consolidate": "maybe"}),
    BadCase(
        "every field wrong",
        400,
        ("regions", "top_n", "consolidate"),
        form={"regions": "x", "top_n": "x", "consolidate": "x"},
    ),
    BadCase("a field of a megabyte", 413, ("262144 bytes of text",), form={"regions": "1,1,1;" * 200_000}),
    BadCase("GET /classify", 405, ("POST",), method="GET"),
    BadCase("DELETE /classes", 405, ("GET",), method="DELETE", path="/classes"),
    BadCase("unknown path", 404, ("/nowhere", "/classify"), method="GET", path="/nowhere"),
    BadCase("path upwards", 404, (), method="GET", path="/../../etc/passwd"),
)
