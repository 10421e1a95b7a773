"""The scan of JPEG headers: it accepts usual files, and its answers are those of Pillow's reader."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import shared.image_header
from shared.image_header import ImageError, open_image, upright_size
from shared.jpeg_scan import MAX_SEGMENTS, scan_jpeg
from tests.images import oriented, quadrants, saved

MAX_PIXELS = 1_000_000
PLAIN = saved(quadrants())
USUAL = {
    "plain": PLAIN,
    "grey": saved(quadrants().convert("L")),
    "cmyk": saved(quadrants().convert("CMYK")),
    "progressive": saved(quadrants(), progressive=True),
    "restarts": saved(quadrants(), restart_marker_blocks=1),
    "comment": saved(quadrants(), comment=b"taken by hand"),
    "profile": saved(quadrants(), icc_profile=bytes(70_000)),
    "xmp": saved(quadrants(), xmp=b"<x:xmpmeta/>"),
    "phone": saved(quadrants(), "MPO", save_all=True, append_images=[quadrants()]),
    **{f"orientation {number}": oriented(number) for number in range(1, 9)},
}


def segment(marker: int, content: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_segments(*segments: bytes) -> bytes:
    return PLAIN[:2] + b"".join(segments) + PLAIN[2:]


def frame(bits: int = 8, height: int = 80, width: int = 120, layers: int = 3, extra: int = 0) -> bytes:
    parts = b"\1\x11\0" * layers + bytes(extra)
    return segment(0xC0, struct.pack(">BHHB", bits, height, width, layers) + parts)


EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
UNUSUAL = {
    "a second frame": with_segments(frame(width=60)),
    "a damaged frame before a good frame": with_segments(frame(bits=12)),
    "a frame without a part": with_segments(segment(0xC0, b"\x08\0\x50")),
    "a frame with too many bytes": with_segments(frame(extra=1)),
    "a frame of five layers": with_segments(frame(layers=5)),
    "two EXIF blocks": with_segments(segment(0xE1, EXIF), segment(0xE1, EXIF)),
    "Photoshop's data": with_segments(segment(0xED, b"Photoshop 3.0\x008BIM\4\4")),
    "a short JFIF segment": with_segments(segment(0xE0, b"JFIF\0")),
    "a short profile": with_segments(segment(0xE2, b"ICC_PROFILE\0")),
    "a short Adobe segment": with_segments(segment(0xEE, b"Adobe")),
    "a segment without a length": with_segments(b"\xff\xe5\0\0"),
    "padding": with_segments(b"\xff\xff\xff"),
    "junk": with_segments(b"junk"),
    "many segments": with_segments(segment(0xE5) * MAX_SEGMENTS),
    "no pixels": PLAIN[:2] + frame(),
    "no frame": PLAIN[:2] + segment(0xDA, bytes(10)),
    "no width": PLAIN[:2] + frame(width=0) + segment(0xDA, bytes(10)),
    "a truncated segment": PLAIN[:2] + frame() + segment(0xDA, bytes(10))[:-1],
    "another format": saved(quadrants(), "PNG"),
    "nothing": b"",
}


def outcome(measure: Callable[[bytes], tuple[int, int]], data: bytes) -> tuple[object, object]:
    try:
        return measure(data)
    except ImageError as error:
        return error.kind, str(error)


def by_pillow(data: bytes) -> tuple[int, int]:
    opened = open_image(data, MAX_PIXELS)
    return opened.width, opened.height


def scanned(data: bytes) -> tuple[int, int]:
    return upright_size(data, MAX_PIXELS)


@pytest.mark.parametrize("name", USUAL)
def test_a_usual_jpeg_is_measured_without_pillow(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = by_pillow(USUAL[name])
    monkeypatch.setattr(shared.image_header, "open_image", None)
    assert scanned(USUAL[name]) == wanted


@pytest.mark.parametrize("name", UNUSUAL)
def test_pillow_judges_an_unusual_file(name: str) -> None:
    assert scan_jpeg(UNUSUAL[name]) is None
    assert outcome(scanned, UNUSUAL[name]) == outcome(by_pillow, UNUSUAL[name])


def test_an_image_with_too_many_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match="120×80 pixels, more than the maximum of 9599"):
        upright_size(PLAIN, 120 * 80 - 1)


def test_the_orientation_may_follow_the_frame() -> None:
    head = PLAIN.index(b"\xff\xda")
    data = PLAIN[:head] + segment(0xE1, EXIF) + PLAIN[head:]
    assert scan_jpeg(data) and scanned(data) == by_pillow(data) == (80, 120)


@settings(max_examples=400, deadline=None)
@example(PLAIN, [(3, b"\xff")], 10**6)
@given(
    st.sampled_from([*USUAL.values(), *UNUSUAL.values()]),
    st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=4)), max_size=4),
    st.integers(0, 1200) | st.just(10**6),
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_changed_files_have_the_answers_of_pillow(
    seed: bytes, edits: list[tuple[int, bytes]], length: int
) -> None:
    data = bytearray(seed[:length])
    for at, piece in edits:
        data[at : at + len(piece)] = piece
    assert outcome(scanned, bytes(data)) == outcome(by_pillow, bytes(data))


def test_a_damaged_file_has_no_size() -> None:
    with pytest.raises(ImageError, match="damaged"):
        upright_size(PLAIN[:20], MAX_PIXELS)
    assert Image.MAX_IMAGE_PIXELS is None
