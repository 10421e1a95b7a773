"""TIFF images of all kinds: right pixels, or a sentence that says what is not supported."""

import numpy as np
import pytest

from shared.image_header import ImageError, open_image
from tests.tiff_files import (
    BITS,
    COLORS,
    COMPRESSION,
    FORMAT,
    HEIGHT,
    KIND,
    SUB_DIRECTORIES,
    WIDTH,
    file_of,
    tiff,
    with_part,
)
from worker.decode import PixelSpec, decode

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def refusal(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode(data, None, PixelSpec(9, 14, 3))
    return caught.value


def samples(channels: int, kind: type) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, np.iinfo(kind).max, (9, 14, channels), kind)


def small(data: bytes, channels: int = 3) -> np.ndarray:
    return decode(data, None, PixelSpec(9, 14, channels, resize="nearest"))[0]


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("planes", [False, True])
def test_tiffs_with_planes_have_the_pixels_of_tiffs_without(
    kind: type, order: str, deflate: bool, planes: bool
) -> None:
    values = samples(3, kind)
    wanted = values >> 8 if kind is np.uint16 else values
    assert (small(tiff(values, {}, order, planes=planes, deflate=deflate)) == wanted).all()


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_planes_of_cmyk_are_read(kind: type, deflate: bool) -> None:
    values = samples(4, kind)
    joined, planes = (tiff(values, {COLORS: 5}, planes=each, deflate=deflate) for each in (False, True))
    assert (small(joined) == small(planes)).all()


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("white", [0, 1])
def test_grey_tiffs_are_no_negatives(white: int, kind: type, order: str, deflate: bool, planes: bool) -> None:
    values = samples(1, kind)
    wanted = values >> 8 if kind is np.uint16 else values
    data = tiff(values, {COLORS: white}, order, planes=planes, deflate=deflate)
    assert (small(data, 1) == (wanted if white else 255 - wanted)).all()


def test_twelve_bits_are_scaled() -> None:
    packed = np.frombuffer(bytes([0x80, 0x0F, 0xFF] * 9 * 7), np.uint8).reshape(9, 21, 1)
    data = tiff(packed, {WIDTH: 14, BITS: 12})
    assert small(data, 1)[..., 0].tolist() == [[0x80, 0xFF] * 7] * 9


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (tiff(samples(3, np.int16), {FORMAT: 2}), "signed samples of 16+16+16 bits"),
        (tiff(samples(3, np.uint32), {}), "whole-number samples of 32+32+32 bits"),
        (tiff(np.zeros((9, 14, 1), np.float64), {FORMAT: 3}), "floating-point samples of 64 bits"),
        (tiff(np.zeros((9, 14, 1), np.float16), {FORMAT: 3}), "floating-point samples of 16 bits"),
        (tiff(samples(3, np.uint8), {COLORS: 32844}), "color space 32844"),
        (tiff(samples(3, np.uint8), {COMPRESSION: 50002}), "compression 50002"),
    ],
)
def test_a_whole_tiff_of_an_unsupported_kind_is_not_called_damaged(data: bytes, text: str) -> None:
    error = refusal(data)
    assert error.kind == "unsupported" and text in str(error) and "Convert it" in str(error)


MAIN = tiff(samples(3, np.uint8), {SUB_DIRECTORIES: 70_000})
THUMBNAIL = tiff(samples(3, np.uint8), {KIND: 1, SUB_DIRECTORIES: 70_000})
PICTURE = {WIDTH: (1200,), HEIGHT: (800,)}


def pages(first: dict[int, int], *later: dict[int, tuple[int, ...]]) -> bytes:
    entries = {WIDTH: (14,), HEIGHT: (9,), BITS: (8,), COMPRESSION: (1,), COLORS: (1,)}
    entries |= {tag: (value,) for tag, value in first.items()}
    return file_of([(entries, [bytes(range(126))]), *((each, []) for each in later)])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(with_part(THUMBNAIL, PICTURE), "thumbnail of 14×9 pixels", id="SubIFD"),
        pytest.param(with_part(MAIN, {WIDTH: (14,), HEIGHT: (10,)}), "14×10", id="SubIFD, not marked"),
        pytest.param(with_part(THUMBNAIL, PICTURE | {COLORS: (32803,)}), "raw photo", id="NEF"),
        pytest.param(with_part(THUMBNAIL, PICTURE | {COLORS: (34892,)}), "raw photo", id="linear DNG"),
        pytest.param(pages({COLORS: 32803}), "raw photo", id="PEF"),
        pytest.param(pages({50706: 1}), "raw photo", id="DNG"),
        pytest.param(pages({KIND: 1}, PICTURE), "thumbnail", id="marked thumbnail"),
        pytest.param(pages({255: 2}, PICTURE), "thumbnail", id="thumbnail marked as in old files"),
        pytest.param(pages({}, {WIDTH: (14,), HEIGHT: (8,)}, PICTURE), "1200×800", id="not marked"),
        pytest.param(pages({KIND: 1}, {WIDTH: (14,), HEIGHT: (10,)}), "14×10", id="slightly larger"),
        pytest.param(b"II*\0\x10\0\0\0CR\2\0" + bytes(500), "raw photo", id="CR2"),
        pytest.param(b"IIU\0\x18\0\0\0" + bytes(500), "raw photo", id="RW2"),
        pytest.param(b"IIRO\x08\0\0\0" + bytes(500), "raw photo", id="ORF"),
        pytest.param(b"FUJIFILMCCD-RAW 0201", "raw photo", id="RAF"),
        pytest.param(b"\0\0\0\x18ftypcrx \0\0\0\1", "raw photo", id="CR3"),
    ],
)
def test_a_thumbnail_is_not_read_in_a_larger_pictures_place(data: bytes, text: str) -> None:
    error = refusal(data)
    assert error.kind == "unsupported" and text in str(error)
    assert "Export it as JPEG" in str(error) or "Save the large picture" in str(error)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(pages({}, {WIDTH: (14,), HEIGHT: (10,)}), id="similar pages"),
        pytest.param(pages({KIND: 2}, {WIDTH: (20,), HEIGHT: (18,)}), id="pages of a document"),
        pytest.param(pages({}, {WIDTH: (7,), HEIGHT: (4,), KIND: (1,)}), id="thumbnail behind the picture"),
        pytest.param(pages({KIND: 1}), id="thumbnail alone"),
        pytest.param(with_part(THUMBNAIL, {WIDTH: (7,), HEIGHT: (4,)}), id="smaller SubIFD"),
        pytest.param(
            with_part(THUMBNAIL, {WIDTH: (7,), SUB_DIRECTORIES: (8,)}), id="directories in a circle"
        ),
    ],
)
def test_a_first_picture_that_is_the_main_picture_is_read(data: bytes) -> None:
    assert open_image(data, 10**6).width == 14
