import io
import struct
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.image_header import MAX_READS, ImageError, open_image
from shared.tiff_check import MAX_VALUES
from tests.bad_input import png_header
from tests.images import oriented, quadrants, saved, scene

# pytest sets its own filters for each test, so the tests of our filters run in a separate process.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

MAX_PIXELS = 100_000_000
XMP = b'<x:xmpmeta tiff:Orientation="6"/>'


def refused(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageError:
    with pytest.raises(ImageError) as caught:
        open_image(data, max_pixels)
    return caught.value


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_each_format_is_opened_without_decoding(form: str) -> None:
    opened = open_image(saved(quadrants(), form), MAX_PIXELS)
    assert (opened.width, opened.height, opened.format) == (120, 80, form)


def test_a_multi_picture_jpeg_of_a_phone_is_opened() -> None:
    data = saved(quadrants(), "MPO", save_all=True, append_images=[quadrants()])
    assert open_image(data, MAX_PIXELS).format == "JPEG"  # the first of its images is used


def test_density_and_tables_of_a_jpeg_are_not_read() -> None:
    exif = Image.Exif()
    exif[0x011A] = 300.0  # a density; to read it, Pillow parses all of EXIF
    image = open_image(saved(quadrants(), exif=exif), MAX_PIXELS).image
    assert "dpi" not in image.info and image.quantization == {}  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_reported_size_is_the_size_of_the_upright_image(form: str, orientation: int) -> None:
    opened = open_image(oriented(orientation, form), MAX_PIXELS)
    assert (opened.width, opened.height) == (120, 80)


def test_png_pixels_are_not_decoded_to_look_for_exif() -> None:
    broken = saved(scene(200, 200), "PNG")
    at = broken.index(b"IDAT") + 20
    assert open_image(broken[:at] + bytes(len(broken) - at), MAX_PIXELS).width == 200


def test_an_image_with_a_broken_exif_block_is_accepted() -> None:
    assert open_image(saved(quadrants(), exif=b"Exif\0\0garbage" * 3), MAX_PIXELS).orientation == 1


def exif_block(order: str, kind: int, orientation: bytes) -> bytes:
    """Return an EXIF block with one tag, in the byte order `order`."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "HHHI", 1, 0x0112, kind, 1) + orientation.ljust(4, b"\0") + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "form"), [(3, "H"), (4, "I")])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_orientation_is_read_in_either_byte_order(order: str, kind: int, form: str, prefix: bytes) -> None:
    exif = prefix + exif_block(order, kind, struct.pack(order + form, 6))
    for container in ("WEBP", "PNG"):
        assert open_image(saved(quadrants(), container, exif=exif), MAX_PIXELS).orientation == 6


@pytest.mark.parametrize("cut", [1, 3, 6, 9, 14, 20])
def test_truncated_exif_counts_as_upright(cut: int) -> None:
    exif = b"Exif\0\0" + exif_block("<", 3, b"\6\0")[:cut]
    assert open_image(saved(quadrants(), exif=exif), MAX_PIXELS).orientation == 1


@pytest.mark.parametrize("place", [8, 2**31, 2**63 - 1, 2**63, 2**64 - 1])
def test_exif_with_tags_outside_its_block_counts_as_upright(place: int) -> None:
    exif = b"Exif\0\0II+\0\x08\0\0\0" + struct.pack("<Q", place)
    assert open_image(saved(quadrants(), exif=exif), MAX_PIXELS).orientation == 1
    assert refused(exif[6:]).kind == "damaged"


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "TIFF"])
def test_the_orientation_in_xmp_is_ignored(form: str) -> None:
    options = {"tiffinfo": {700: XMP}} if form == "TIFF" else {"xmp": XMP}
    opened = open_image(saved(quadrants(), form, **options), MAX_PIXELS)
    opened.image.load()
    assert (opened.width, opened.height) == opened.image.size == (120, 80)


def test_an_orientation_out_of_range_counts_as_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert open_image(saved(quadrants(), exif=exif), MAX_PIXELS).orientation == 1


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    error = refused(png_header(20_000, 20_000))
    assert error.kind == "too-large" and "20000×20000" in str(error)


def test_the_maximum_number_of_pixels_is_the_argument() -> None:
    data = saved(quadrants())
    assert open_image(data, 120 * 80).width == 120
    assert refused(data, 120 * 80 - 1).kind == "too-large"


@pytest.mark.parametrize("mode", ["F", "I"])
def test_32_bit_samples_are_refused(mode: str) -> None:
    error = refused(saved(Image.new(mode, (4, 4)), "TIFF"))
    assert error.kind == "unsupported" and "32-bit" in str(error)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_16_bit_samples_are_read(mode: str, form: str) -> None:
    assert open_image(saved(Image.new(mode, (4, 3)), form), MAX_PIXELS).image.mode.startswith("I;16")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF"])
def test_a_truncated_header_is_damaged(form: str) -> None:
    assert refused(saved(quadrants(), form)[:12]).kind == "damaged"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC image"),
        (b"\0\0\0\x18ftyphevc", "HEIC image"),
        (b"\0\0\0\x18ftypmif1", "HEIF image"),
        (b"\0\0\0\x18ftypisom", "video"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
        (b"8BPS\0\1", "Photoshop"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04", "ZIP"),
        (b"<svg xmlns='x'/>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- x -->\n<svg/>", "SVG"),
        (b"<?xml version='1.0'?><a/>", "XML"),
        (b"\n<!doctype html><svg/>", "web page"),
        (b'{"a": 1}', "JSON"),
        (b"RIFF\0\0\0\0WAVEfmt ", "not an image"),
        (b"BMW and other cars", "not an image"),
        (b"plain words", "not an image"),
    ],
)
def test_an_unsupported_file_type_is_named(head: bytes, name: str) -> None:
    error = refused(head + bytes(200))
    assert error.kind == "unsupported" and name in str(error)


def test_other_images_should_be_converted_to_jpeg() -> None:
    assert "Convert it to JPEG" in str(refused(b"\0\0\0\x18ftypheic" + bytes(99)))


def test_an_empty_file_is_reported_as_empty() -> None:
    assert "empty" in str(refused(b""))


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_header_parts(form: str, parts: bytes) -> bytes:
    """Return an image with these additional bytes in its header."""
    data = saved(quadrants(), form)
    at = {"PNG": 33, "JPEG": 2, "GIF": data.find(b",")}[form]
    return data[:at] + parts + data[at:]


def tiff(*tags: tuple[int, int, int, int]) -> bytes:
    """Return a deflated grey TIFF of 10×10 pixels with additional tags (id, type, values, first value)."""
    base = [(256, 4, 1, 10), (257, 4, 1, 10), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    entries = sorted([*base, *tags])
    packed = b"".join(struct.pack("<HHII", *each) for each in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4)


def test_a_text_chunk_that_unpacks_to_80_megabytes_is_not_unpacked() -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000), 9))
    assert refused(with_header_parts("PNG", bomb)).kind == "damaged"


def test_many_texts_that_unpack_to_a_megabyte_are_not_all_unpacked() -> None:
    text = zlib.compress(bytes(1_000_000), 9)
    bomb = b"".join(chunk(b"zTXt", b"%d\0\0" % i + text) for i in range(20))
    assert refused(with_header_parts("PNG", bomb)).kind == "damaged"


@pytest.mark.parametrize(
    ("form", "parts"),
    [
        pytest.param("PNG", chunk(b"tEXt", b"a\0"), id="PNG texts"),
        pytest.param("PNG", chunk(b"abCd"), id="PNG chunks of an unknown kind"),
        pytest.param("JPEG", b"\xff\xfe\0\2", id="JPEG comments"),
        pytest.param("JPEG", b"\xff", id="JPEG padding"),
        pytest.param("GIF", b"\x21\xfe\1a\0", id="GIF comments"),
    ],
)
def test_a_header_with_too_many_parts_is_refused(form: str, parts: bytes) -> None:
    assert "too many parts" in str(refused(with_header_parts(form, parts * MAX_READS)))


def test_a_comment_with_too_many_parts_is_refused() -> None:
    assert refused(with_header_parts("GIF", b"\x21\xfe" + b"\1a" * MAX_READS + b"\0")).kind == "damaged"


def test_pixels_in_many_parts_are_accepted() -> None:
    image = Image.frombytes("RGB", (150, 150), bytes(range(256)) * 264, "raw")
    pixels = zlib.compress(b"".join(b"\0" + image.tobytes()[i : i + 450] for i in range(0, 67_500, 450)), 0)
    parts = b"".join(chunk(b"IDAT", pixels[i : i + 1]) for i in range(len(pixels)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 150, 150, 8, 2, 0, 0, 0))
    opened = open_image(b"\x89PNG\r\n\x1a\n" + header + parts + chunk(b"IEND"), MAX_PIXELS)
    assert opened.image.tobytes() == image.tobytes()


@pytest.mark.parametrize("tag", [258, 273, 279])
@pytest.mark.parametrize("kind", [3, 4])
def test_a_tiff_with_too_many_strips_is_refused(tag: int, kind: int) -> None:
    error = refused(tiff((tag, kind, MAX_VALUES + 1, 0)) + bytes(2 * MAX_VALUES))
    assert error.kind == "damaged" and f"tag {tag} " in str(error)


def test_too_many_strips_after_too_many_tags_are_refused() -> None:
    small, strips = struct.pack("<HHQQ", 40_000, 3, 1, 0), struct.pack("<HHQQ", 273, 4, MAX_VALUES + 1, 0)
    head = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, MAX_VALUES + 1)
    assert "tag 273" in str(refused(head + small * MAX_VALUES + strips))


def test_a_tag_with_more_values_than_the_file_can_contain_is_skipped() -> None:
    assert open_image(tiff((273, 4, 1, 8), (33_000, 4, 10**9, 0)), MAX_PIXELS).width == 10


def test_a_long_tag_of_bytes_is_accepted() -> None:
    data = saved(quadrants(), "TIFF", tiffinfo={37724: bytes(MAX_VALUES * 2)})
    assert open_image(data, MAX_PIXELS).width == 120


def test_the_maximum_number_of_pixels_applies_to_the_tiles_of_a_tiff() -> None:
    tiles = tiff((322, 4, 1, 20_000), (323, 4, 1, 20_000), (324, 4, 1, 8), (325, 4, 1, 9))
    error = refused(tiles)
    assert error.kind == "too-large" and "tile" in str(error)


def test_a_big_tiff_is_opened() -> None:
    assert open_image(saved(quadrants(), "TIFF", big_tiff=True), MAX_PIXELS).width == 120


def test_malformed_bytes_cause_no_warnings() -> None:
    code = (
        "import io, PIL.Image as I; from shared.image_header import *; b = io.BytesIO();"
        "I.new('RGB', (9, 9)).save(b, 'TIFF'); d = b.getvalue(); at = int.from_bytes(d[4:8], 'little') + 30;"
        "\ntry: open_image(d[:at], 99)\nexcept ImageError as e: print(e.kind)"
    )
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("damaged\n", "")


def test_opening_an_image_does_not_import_numpy() -> None:
    code = (
        "import sys, io; from shared.image_header import *; import PIL.Image as I; b = io.BytesIO();"
        "I.new('RGB', (9, 9)).save(b, 'TIFF'); open_image(b.getvalue(), 99); print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


SEEDS = [saved(quadrants(16, 12), form) for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)), max_size=6),
    st.integers(0, 1200),
)
def test_mutated_images_open_or_are_refused(seed: bytes, edits: list[tuple[int, bytes]], length: int) -> None:
    data = bytearray(seed[:length])
    for at, bytes_ in edits:
        data[at : at + len(bytes_)] = bytes_
    try:
        open_image(bytes(data), MAX_PIXELS)
    except ImageError as error:
        assert error.kind in ("unsupported", "damaged", "too-large") and "\n" not in str(error)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert refused(data).kind in ("unsupported", "damaged")


def test_a_stored_file_is_not_kept_open() -> None:
    assert isinstance(open_image(saved(quadrants()), MAX_PIXELS).image.fp, io.BytesIO)


@pytest.mark.parametrize("method", [2, 3])
def test_a_short_gif_of_a_large_size_needs_no_memory(method: int) -> None:
    screen = struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0)
    control = bytes([0x21, 0xF9, 4, method << 2 | 1, 0, 0, 0, 0])
    frame = b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\2\0;"
    opened = open_image(b"GIF89a" + screen + control + frame, 60_000**2)
    assert (opened.width, opened.format) == (60_000, "GIF")
    assert opened.image.dispose is None  # type: ignore[attr-defined]  # Pillow would have allocated it
