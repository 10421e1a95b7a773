"""Images whose end is missing: only the end marker, or pixels."""

import struct
from dataclasses import replace

import numpy as np
import pytest

from shared.image_header import ImageError
from shared.jpeg_scan import has_all_scans
from shared.settings import Settings
from tests.images import saved, scene
from tests.tiff_files import (
    BITS,
    tiff,
)
from worker.decode import DecodedImage, PixelSpec, TruncatedImage, decode, decode_image
from worker.process_decoder import ProcessDecoder

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

SPEC = PixelSpec(80, 120, 3, resize="nearest")
PHOTO = scene(203, 149)
KINDS = {
    "baseline": saved(PHOTO, quality=80, subsampling=2),
    "grey": saved(PHOTO.convert("L"), quality=80),
    "progressive": saved(PHOTO, quality=80, progressive=True),
    "restarts": saved(PHOTO, quality=80, restart_marker_blocks=3),
    "optimized": saved(PHOTO, quality=80, optimize=True),
}


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_lacks_only_its_end_marker_is_read(kind: str, missing: int) -> None:
    whole = decode_image((KINDS[kind], None), SPEC)
    outcome = decode_image((KINDS[kind][:-missing], None), SPEC)
    assert isinstance(whole, DecodedImage) and isinstance(outcome, DecodedImage)
    assert (outcome.pixels == whole.pixels).all() and not outcome.is_truncated


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_lacks_pixels_is_not_read_as_a_whole_one(kind: str) -> None:
    whole, refused = decode(KINDS[kind], None, SPEC), 0
    for missing in range(3, 150, 3):
        try:
            assert (decode(KINDS[kind][:-missing], None, SPEC) == whole).all(), missing
        except TruncatedImage:
            refused += 1
    assert refused >= 45


def test_a_progressive_jpeg_that_lacks_a_whole_scan_is_refused() -> None:
    data = KINDS["progressive"]
    end = data.rindex(b"\xff\xda")
    end = max(data.rfind(b"\xff\xc4", 0, end), end - 500)  # the scan's Huffman table, if it has its own
    assert has_all_scans(data) and not has_all_scans(data[:end])
    assert isinstance(decode_image((data[:end], None), SPEC), TruncatedImage)


ACCEPT = replace(SPEC, truncated="accept")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_the_rest_of_a_truncated_image_is_read_if_that_is_set(form: str) -> None:
    data = saved(scene(120, 80), form)
    if form == "TIFF":  # Pillow writes the directory first
        data = tiff(np.asarray(scene(120, 80)), {})
        data = pages_first(data)
    cut = data[: len(data) * 2 // 3]
    refused, accepted = decode_image((cut, None), SPEC), decode_image((cut, None), ACCEPT)
    assert isinstance(refused, TruncatedImage) and "truncated" in str(refused)
    assert isinstance(accepted, DecodedImage) and accepted.is_truncated
    (whole,), (rest,) = decode(data, None, SPEC), accepted.pixels
    same = (rest == whole).all(axis=(1, 2))
    assert 20 <= same.sum() < 80
    whole_again = decode_image((data, None), ACCEPT)
    assert isinstance(whole_again, DecodedImage) and not whole_again.is_truncated


def pages_first(data: bytes) -> bytes:
    """Move the strip of a TIFF of one strip behind its directory."""
    directory = struct.unpack_from("<I", data, 4)[0]
    length = 120 * 80 * 3
    head, strip, tail = data[:8], data[8 : 8 + length], data[8 + length :]
    moved = bytearray(head + tail + strip)
    struct.pack_into("<I", moved, 4, directory - length)
    entries = struct.unpack_from("<H", moved, directory - length)[0]
    for number in range(entries):
        at = directory - length + 2 + 12 * number
        tag, _, values, place = struct.unpack_from("<HHII", moved, at)
        if tag == 273:
            struct.pack_into("<I", moved, at + 8, 8 + len(tail))
        elif tag == BITS and values > 2:
            struct.pack_into("<I", moved, at + 8, place - length)
    return bytes(moved)


@pytest.mark.parametrize("form", ["WEBP", "AVIF"])
def test_a_truncated_image_of_other_formats_is_refused_in_any_case(form: str) -> None:
    data = saved(scene(120, 80), form)
    assert isinstance(decode_image((data[: len(data) * 2 // 3], None), ACCEPT), ImageError)


def test_broken_pixels_are_no_truncation() -> None:
    broken = bytearray(saved(scene(120, 80), "PNG"))
    broken[200:300] = bytes(100)
    outcome = decode_image((bytes(broken), None), ACCEPT)
    assert isinstance(outcome, ImageError) and not isinstance(outcome, TruncatedImage)


def test_a_decoding_process_reports_truncated_images() -> None:
    cut = KINDS["baseline"][:-900]
    decoder = ProcessDecoder(ACCEPT, 1)
    outcomes = decoder.decode([(cut, None), (KINDS["baseline"], None)])
    decoder.close()
    assert [each.is_truncated for each in outcomes if isinstance(each, DecodedImage)] == [True, False]


def test_the_setting_decides_about_truncated_images() -> None:
    settings = Settings.from_environ({"INPUT_TRUNCATED": "accept"})
    assert PixelSpec.of((8, 8, 3), settings).truncated == "accept"
    assert PixelSpec.of((8, 8, 3), Settings()).truncated == "refuse"
