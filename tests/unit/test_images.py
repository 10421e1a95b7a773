import io
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.images import ImageError, open_image
from tests.bad_input import png_header
from tests.pictures import oriented, quadrants, saved, scene

MOST = 100_000_000


def refused(data: bytes, most: int = MOST) -> ImageError:
    with pytest.raises(ImageError) as caught:
        open_image(data, most)
    return caught.value


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_each_format_is_opened_without_decoding(form: str) -> None:
    opened = open_image(saved(quadrants(), form), MOST)
    assert (opened.width, opened.height, opened.format) == (120, 80, form)


def test_a_phones_multi_picture_jpeg_is_opened() -> None:
    data = saved(quadrants(), "MPO", save_all=True, append_images=[quadrants()])
    assert open_image(data, MOST).format == "MPO"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_image(form: str, orientation: int) -> None:
    opened = open_image(oriented(orientation, form), MOST)
    assert (opened.width, opened.height) == (120, 80)


def test_png_pixels_are_not_decoded_to_look_for_exif() -> None:
    broken = saved(scene(200, 200), "PNG")
    at = broken.index(b"IDAT") + 20
    assert open_image(broken[:at] + bytes(len(broken) - at), MOST).width == 200


def test_a_broken_exif_block_is_no_reason_to_refuse() -> None:
    assert open_image(saved(quadrants(), exif=b"Exif\0\0garbage" * 3), MOST).orientation == 1


def test_an_orientation_out_of_range_counts_as_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert open_image(saved(quadrants(), exif=exif), MOST).orientation == 1


def test_a_bomb_is_refused_by_its_header() -> None:
    error = refused(png_header(20_000, 20_000))
    assert error.kind == "too-large" and "20000×20000" in str(error)


def test_the_bound_of_pixels_is_the_settings() -> None:
    data = saved(quadrants())
    assert open_image(data, 120 * 80).width == 120
    assert refused(data, 120 * 80 - 1).kind == "too-large"


@pytest.mark.parametrize("mode", ["F", "I"])
def test_32_bit_samples_are_refused(mode: str) -> None:
    error = refused(saved(Image.new(mode, (4, 4)), "TIFF"))
    assert error.kind == "unsupported" and "32 bits" in str(error)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF"])
def test_a_cut_header_is_damaged(form: str) -> None:
    assert refused(saved(quadrants(), form)[:12]).kind == "damaged"


def test_a_text_chunk_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    png = saved(quadrants(), "PNG")
    body = b"Comment\0\0" + zlib.compress(bytes(80_000_000), 9)
    chunk = len(body).to_bytes(4, "big") + b"zTXt" + body + zlib.crc32(b"zTXt" + body).to_bytes(4, "big")
    try:
        open_image(png[:33] + chunk + png[33:], MOST)
    except ImageError as error:
        assert error.kind == "damaged"


def test_the_check_needs_no_numpy() -> None:
    code = (
        "import sys, io; from shared.images import *; import PIL.Image as I; b = io.BytesIO();"
        "I.new('RGB', (9, 9)).save(b, 'TIFF'); open_image(b.getvalue(), 99); print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


SEEDS = [saved(quadrants(16, 12), form) for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)), max_size=6),
)
def test_mutated_images_open_or_are_refused(seed: bytes, edits: list[tuple[int, bytes]]) -> None:
    data = bytearray(seed)
    for at, bytes_ in edits:
        data[at : at + len(bytes_)] = bytes_
    try:
        open_image(bytes(data), MOST)
    except ImageError as error:
        assert error.kind in ("unsupported", "damaged", "too-large") and "\n" not in str(error)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert refused(data).kind in ("unsupported", "damaged")


def test_a_stored_file_is_not_kept_open() -> None:
    assert isinstance(open_image(saved(quadrants()), MOST).image.fp, io.BytesIO)
