import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from shared.image_header import ImageError
from shared.job import Region
from tests.images import CORNERS, STORED, oriented, quadrants, saved, scene
from worker.decode import PixelSpec, decode

# pytest sets its own filters for each test.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

SPEC = PixelSpec(height=40, width=40, channels=3)
QUARTERS = (Region(4, 4, 30), Region(80, 4, 30), Region(4, 46, 30), Region(80, 46, 30))


def spec(**changes: object) -> PixelSpec:
    return PixelSpec(**{"height": 40, "width": 40, "channels": 3, **changes})  # type: ignore[arg-type]


def corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """Return the colours near the four corners of one input."""
    return [tuple(int(c) for c in pixels[y, x]) for y, x in ((5, 5), (5, 34), (34, 5), (34, 34))]


def assert_near(found: list[tuple[int, ...]], wanted: object, tolerance: int = 12) -> None:
    assert np.abs(np.array(found, int) - np.array(wanted, int)).max() <= tolerance, found


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(form: str, orientation: int) -> None:
    (pixels,) = decode(oriented(orientation, form), None, SPEC)
    assert_near(corners(pixels), CORNERS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_regions_are_cut_from_the_upright_image(orientation: int) -> None:
    pixels = decode(oriented(orientation), QUARTERS, SPEC)
    assert_near([tuple(each[20, 20]) for each in pixels], CORNERS)


def turned(image: Image.Image, orientation: int, form: str = "PNG", **options: object) -> bytes:
    """Return an image that is stored turned, with the EXIF orientation that turns it upright."""
    turn, exif = STORED[orientation], Image.Exif()
    exif[0x0112] = orientation
    return saved(image if turn is None else image.transpose(turn), form, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("resize", ["antialias", "bilinear", "nearest"])
def test_turning_changes_no_pixel(resize: str, orientation: int) -> None:
    image, three_regions = scene(211, 143), (Region(3, 5, 101), Region(110, 42, 101), Region(60, 0, 143))
    rules = spec(resize=resize, height=31, width=47)
    for regions in (None, three_regions):
        upright = decode(saved(image, "PNG"), regions, rules)
        assert (decode(turned(image, orientation), regions, rules) == upright).all()


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "TIFF"])
def test_xmp_turns_nothing(form: str) -> None:
    xmp = b'<x:xmpmeta tiff:Orientation="6"/>'
    options = {"tiffinfo": {700: xmp}} if form == "TIFF" else {"xmp": xmp}
    (pixels,) = decode(saved(quadrants(), form, **options), None, SPEC)
    assert_near(corners(pixels), CORNERS)


def converted(mode: str) -> Image.Image:
    return quadrants().convert(mode)


@pytest.mark.parametrize(
    ("image", "form"),
    [
        pytest.param(quadrants().quantize(8), "PNG", id="palette PNG"),
        pytest.param(quadrants().quantize(8), "GIF", id="GIF"),
        pytest.param(converted("RGBA"), "PNG", id="RGBA PNG"),
        pytest.param(converted("RGBA"), "WEBP", id="RGBA WebP"),
        pytest.param(converted("CMYK"), "JPEG", id="CMYK JPEG"),
        pytest.param(converted("CMYK"), "TIFF", id="CMYK TIFF"),
        pytest.param(converted("RGBA").convert("PA"), "TIFF", id="PA TIFF"),
        pytest.param(converted("RGBX"), "TIFF", id="RGBX TIFF"),
        pytest.param(converted("RGB"), "BMP", id="BMP"),
        pytest.param(converted("YCbCr"), "TIFF", id="YCbCr TIFF"),
        pytest.param(converted("LAB"), "TIFF", id="LAB TIFF"),
    ],
)
def test_colours_of_every_mode_reach_the_model(image: Image.Image, form: str) -> None:
    (pixels,) = decode(saved(image, form), None, SPEC)
    assert_near(corners(pixels), CORNERS, 40)
    (grey,) = decode(saved(image, form), None, spec(channels=1))
    wanted = np.asarray(quadrants().convert("L"))[[10, 10, 70, 70], [10, 110, 10, 110]]
    assert_near(corners(grey), wanted[:, None], 40)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_compressed_tiffs_are_turned_upright(compression: str, orientation: int) -> None:
    data = turned(quadrants(), orientation, "TIFF", compression=compression)
    (pixels,) = decode(data, None, SPEC)
    assert_near(corners(pixels), CORNERS)


@pytest.mark.parametrize("transparency", [2, bytes([0, 128, 255])])
def test_transparency_of_a_palette_is_dropped(transparency: object) -> None:
    data = saved(quadrants().quantize(8), "PNG", transparency=transparency)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (pixels,) = decode(data, None, SPEC)
    assert_near(corners(pixels), CORNERS)


def test_transparent_pixels_keep_their_colours() -> None:
    clear = quadrants().convert("RGBA")
    clear.putalpha(0)
    (pixels,) = decode(saved(clear, "PNG"), None, SPEC)
    assert_near(corners(pixels), CORNERS)


def test_colours_of_sixteen_bits_are_scaled() -> None:
    levels = np.linspace(0, 65535, 40 * 40 * 3).reshape(40, 40, 3).astype(">u2")
    header = struct.pack(">IIBBBBB", 40, 40, 16, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in levels))
    parts = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(each)) + kind + each + struct.pack(">I", zlib.crc32(kind + each))
        for kind, each in parts
    )
    (pixels,) = decode(data, None, spec(resize="nearest"))
    assert (pixels == levels >> 8).all()


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_images_become_three_equal_channels(mode: str) -> None:
    grey = quadrants().convert("L").convert(mode, dither=Image.Dither.NONE)
    (pixels,) = decode(saved(grey, "PNG"), None, SPEC)
    assert (pixels[..., 0] == pixels[..., 2]).all()
    wanted = [[value] * 3 for value in np.asarray(grey.convert("L"))[[10, 10, 70, 70], [10, 110, 10, 110]]]
    assert_near(corners(pixels), wanted, 2)


@pytest.mark.parametrize("order", ["<u2", ">u2"])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(order: str, form: str) -> None:
    levels = np.linspace(0, 65535, 40 * 40).reshape(40, 40).astype(order)
    image = Image.fromarray(levels)
    (pixels,) = decode(saved(image, form), None, spec(channels=1, resize="nearest"))
    assert np.abs(pixels[..., 0].astype(int) - (levels >> 8)).max() <= 1


def test_one_channel_models_get_luminance() -> None:
    (pixels,) = decode(saved(quadrants(), "PNG"), None, spec(channels=1))
    assert pixels.shape == (40, 40, 1)
    wanted = np.asarray(quadrants().convert("L"))[[10, 10, 70, 70], [10, 110, 10, 110]]
    assert_near(corners(pixels), wanted[:, None], 2)


def test_bgr_is_rgb_reversed() -> None:
    data = saved(scene(200, 150), "PNG")
    rgb, bgr = decode(data, None, SPEC), decode(data, None, spec(color="bgr"))
    assert (rgb == bgr[..., ::-1]).all() and bgr.flags.c_contiguous


def blocks(width: int, height: int) -> Image.Image:
    """Return an image with hard edges and grain, which reveal a shift of half a pixel."""
    random = np.random.default_rng(5)
    coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8))
    image = np.asarray(coarse.resize((width, height), Image.Resampling.NEAREST))
    return Image.fromarray(np.clip(image + random.normal(0, 4, image.shape), 0, 255).astype(np.uint8))


def in_full(data: bytes, region: Region | None, target: int) -> np.ndarray:
    """Return a region decoded at full scale, cut and resized by Pillow's filter alone."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if region:
        x, y, side = region
        image = image.crop((x, y, x + side, y + side))
    return np.asarray(image.resize((target, target), Image.Resampling.BILINEAR), int)


# 75 and 99 take other reductions of these sizes, and none of the sizes divides by them.
@pytest.mark.parametrize("target", [75, 99])
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("picture", [scene(1607, 1203), blocks(1601, 1203), blocks(1207, 911)])
def test_a_decode_at_reduced_scale_stays_near_a_full_decode(
    picture: Image.Image, orientation: int, target: int
) -> None:
    jpeg = turned(picture, orientation, "JPEG", quality=90, subsampling=2)
    side = picture.height // 2
    for region in (None, Region(13, 7, side), Region(picture.width - side, 55, side - 31)):
        (reduced,) = decode(jpeg, (region,) if region else None, spec(height=target, width=target))
        assert np.abs(reduced - in_full(jpeg, region, target)).mean() <= 1.0


def test_the_smallest_region_decides_how_far_a_jpeg_is_reduced() -> None:
    jpeg = saved(blocks(1207, 911), quality=90)
    regions = (Region(0, 0, 900), Region(501, 333, 60))
    pixels = decode(jpeg, regions, SPEC)
    for found, region in zip(pixels, regions, strict=True):
        assert np.abs(found - in_full(jpeg, region, 40)).mean() <= 0.7


def test_shrinking_by_whole_numbers_first_changes_little() -> None:
    data = saved(blocks(1601, 1203), "PNG", compress_level=1)
    (pixels,) = decode(data, None, SPEC)
    apart = np.abs(pixels - in_full(data, None, 40))
    assert apart.mean() <= 0.7 and apart.max() <= 8


def test_antialias_is_pillows_own_filter_on_the_region() -> None:
    image = scene(300, 200)
    (pixels,) = decode(saved(image, "PNG"), (Region(31, 17, 150),), SPEC)
    wanted = image.crop((31, 17, 181, 167)).resize((40, 40), Image.Resampling.BILINEAR)
    assert (pixels == np.asarray(wanted)).all()


def opencv_linear(pixels: np.ndarray, size: int) -> np.ndarray:
    """Compute what cv2.resize(…, INTER_LINEAR) returns."""
    out = pixels.astype(float)
    for axis in (0, 1):
        length = pixels.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.floor(at).astype(int)
        weight = (at - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        out = out.take(low, axis) * (1 - weight) + out.take(np.minimum(low + 1, length - 1), axis) * weight
    return out


@pytest.mark.parametrize("side", [150, 40, 23, 1])
def test_bilinear_is_opencvs_without_antialiasing(side: int) -> None:
    image = scene(300, 200)
    (pixels,) = decode(saved(image, "PNG"), (Region(31, 17, side),), spec(resize="bilinear"))
    wanted = opencv_linear(np.asarray(image)[17 : 17 + side, 31 : 31 + side], 40)
    assert np.abs(pixels - wanted).max() <= 1.0


def test_nearest_is_what_keras_own_loader_does() -> None:
    image = scene(300, 200)
    (pixels,) = decode(saved(image, "PNG"), None, spec(resize="nearest"))
    assert (pixels == np.asarray(image.resize((40, 40), Image.Resampling.NEAREST))).all()


def test_a_region_does_not_see_its_surroundings() -> None:
    image = Image.new("RGB", (2000, 2000), (255, 255, 255))
    image.paste((0, 0, 0), (504, 504, 1504, 1504))
    (pixels,) = decode(saved(image, quality=95), (Region(520, 520, 960),), SPEC)
    assert pixels.max() <= 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_a_truncated_image_is_damaged(form: str) -> None:
    data = saved(scene(200, 150), form)
    with pytest.raises(ImageError) as caught:
        decode(data[: len(data) * 2 // 3], None, SPEC)
    assert caught.value.kind == "damaged"


def test_a_jpeg_with_a_broken_quantization_table_is_damaged() -> None:
    data = bytearray(saved(scene(200, 150)))
    data[data.index(b"\xff\xdb") + 4] = 0x0F  # The number of a quantization table must be 0 to 3.
    with pytest.raises(ImageError, match="damaged"):
        decode(bytes(data), None, SPEC)


def test_animations_give_their_first_frame() -> None:
    frames = [quadrants(), Image.new("RGB", (120, 80))]
    for form in ("GIF", "WEBP", "TIFF", "MPO"):
        (pixels,) = decode(saved(frames[0], form, save_all=True, append_images=frames[1:]), None, SPEC)
        assert_near(corners(pixels), CORNERS, 40)


def test_a_region_outside_is_refused_by_the_worker_too() -> None:
    with pytest.raises(ImageError, match="outside"):
        decode(saved(quadrants()), (Region(100, 0, 50),), SPEC)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("side", [0, -3])
def test_a_region_of_no_size_is_refused_by_the_worker_too(form: str, side: int) -> None:
    with pytest.raises(ImageError, match="region"):
        decode(saved(quadrants(), form), (Region(9, 9, side),), SPEC)


def test_threads_do_not_disturb_each_other() -> None:
    images = [
        saved(scene(320 + i, 240, i), form) for i, form in enumerate(["JPEG", "PNG", "WEBP", "TIFF"] * 4)
    ]
    alone = [decode(each, QUARTERS, SPEC) for each in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda each: decode(each, QUARTERS, SPEC), images))
    assert all((a == b).all() for a, b in zip(alone, together, strict=True))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]),
    st.lists(st.tuples(st.integers(0, 900), st.binary(min_size=1, max_size=6)), max_size=8),
    st.integers(0, 2000),
)
def test_mutated_images_decode_or_are_refused(form: str, edits: list[tuple[int, bytes]], length: int) -> None:
    data = bytearray(saved(quadrants(24, 16), form)[:length])
    for at, change in edits:
        data[at : at + len(change)] = change
    try:
        assert decode(bytes(data), None, spec(max_pixels=10**6)).shape == (1, 40, 40, 3)
    except ImageError as error:
        assert error.kind in ("unsupported", "damaged", "too-large")
