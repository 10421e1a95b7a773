"""AVIF images: their pixels, and the sizes of their frames before they are decoded."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from shared.avif_frames import frame_sizes
from shared.image_header import MAX_AVIF_PIXELS, ImageError, open_image, upright_size
from tests.images import CORNERS, oriented, quadrants, saved
from worker.decode import PixelSpec, decode

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

SPEC = PixelSpec(80, 120, 3, resize="nearest")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_images_are_turned_upright(orientation: int) -> None:
    data = oriented(orientation, "AVIF")
    assert upright_size(data, 10**6) == (120, 80)
    (pixels,) = decode(data, None, PixelSpec(40, 40, 3))
    found = [pixels[y, x] for y, x in ((5, 5), (5, 34), (34, 5), (34, 34))]
    assert np.abs(np.array(found, int) - np.array(CORNERS)).max() <= 12


def avif(image: Image.Image, **options: object) -> bytes:
    return saved(image, "AVIF", speed=10, **options)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(avif(quadrants().convert("RGBA")), id="transparent"),
        pytest.param(avif(quadrants().convert("L")), id="grey"),
        pytest.param(
            avif(quadrants(), save_all=True, append_images=[Image.new("RGB", (120, 80))]), id="animated"
        ),
        pytest.param(avif(quadrants(), codec="aom", subsampling="4:4:4"), id="4:4:4"),
        pytest.param(oriented(1, "AVIF").replace(b"MM\0*\0\0", b"MM\0*\xff\xff"), id="damaged EXIF"),
    ],
)
def test_each_kind_of_avif_is_read(data: bytes) -> None:
    (pixels,) = decode(data, None, SPEC)
    assert set(frame_sizes(data)) == {(120, 80)}
    wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert (pixels == wanted).all()


def test_the_frames_of_a_track_are_measured_too() -> None:
    data = avif(quadrants(), save_all=True, append_images=[quadrants()])
    assert frame_sizes(data.replace(b"meta", b"free", 1)) == [(120, 80)]


LARGE = avif(Image.new("RGB", (3000, 2000), (9, 90, 200)))


def test_the_frames_of_an_avif_are_not_larger_than_the_maximum() -> None:
    box = b"ispe\0\0\0\0"
    liar = LARGE.replace(box + struct.pack(">II", 3000, 2000), box + struct.pack(">II", 16, 16))
    assert open_image(LARGE, 6_000_000).width == 3000 and open_image(liar, 6_000_000).width == 16
    with pytest.raises(
        ImageError, match="frame has 3000×2000 pixels, more than the maximum of 100000"
    ) as caught:
        open_image(liar, 100_000)
    assert caught.value.kind == "too-large"


def test_an_avif_may_have_fewer_pixels_than_other_images() -> None:
    data = LARGE.replace(
        struct.pack(">II", 3000, 2000), struct.pack(">II", 8000, MAX_AVIF_PIXELS // 8000 + 1)
    )
    with pytest.raises(ImageError, match=f"maximum of {MAX_AVIF_PIXELS}") as caught:
        open_image(data, 10**9)
    assert caught.value.kind == "too-large"


def test_an_avif_without_a_readable_frame_is_damaged() -> None:
    data = LARGE.replace(b"av01", b"av0x")
    with pytest.raises(ImageError) as caught:
        open_image(data, 10**8)
    assert caught.value.kind == "damaged"


def test_without_libavif_an_avif_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.AvifImagePlugin.SUPPORTED", False)
    with pytest.raises(ImageError, match="AVIF image, which is not supported") as caught:
        open_image(LARGE, 10**8)
    assert caught.value.kind == "unsupported"
