"""Images of more pixels than a worker decodes at once."""

import struct
from dataclasses import replace

import pytest
from PIL import Image

from shared.image_header import ImageError, upright_size
from shared.job import Region
from shared.jpeg_scan import coefficient_bytes
from shared.settings import Settings
from tests.bad_input import png_header
from tests.images import quadrants, saved, scene
from worker.decode import PixelSpec, decode, decode_image

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

PLAIN = saved(quadrants())
LIMITS = {"max_pixels": 60_000, "max_jpeg_pixels": 200_000}


def test_a_large_jpeg_is_decoded_at_a_reduced_scale() -> None:
    data = saved(scene(400, 300), quality=90, subsampling=2)
    spec = PixelSpec(40, 40, 3, **LIMITS)  # type: ignore[arg-type]
    assert upright_size(data, *LIMITS.values()) == (400, 300)
    assert (decode(data, None, spec) == decode(data, None, PixelSpec(40, 40, 3))).all()
    for regions, rules in (((Region(0, 0, 60),), spec), (None, replace(spec, resize="bilinear"))):
        outcome = decode_image((data, regions), rules)
        assert isinstance(outcome, ImageError) and outcome.kind == "too-large"
        assert "at full scale" in str(outcome) and "Send a smaller image" in str(outcome)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_other_large_images_are_refused(form: str) -> None:
    with pytest.raises(ImageError, match="400×300 pixels") as caught:
        upright_size(saved(Image.new("RGB", (400, 300)), form), *LIMITS.values())
    assert caught.value.kind == "too-large"


@pytest.mark.parametrize(
    ("options", "per_pixel"),
    [
        ({"subsampling": 2}, 0),
        ({"subsampling": 2, "progressive": True}, 3),
        ({"subsampling": 1, "progressive": True}, 4),
        ({"subsampling": 0, "progressive": True}, 6),
    ],
)
def test_coefficients_of_a_large_progressive_jpeg_are_bounded(
    options: dict[str, object], per_pixel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(scene(400, 300), **options)
    assert coefficient_bytes(data) == per_pixel * 400 * 300
    monkeypatch.setattr("shared.image_header.MAX_COEFFICIENT_BYTES", 4 * 400 * 300)
    if per_pixel <= 4:
        assert upright_size(data, *LIMITS.values()) == (400, 300)
        return
    with pytest.raises(ImageError, match="Send a smaller image, or a baseline JPEG") as caught:
        upright_size(data, *LIMITS.values())
    assert caught.value.kind == "too-large"


def test_scans_of_single_channels_need_all_coefficients() -> None:
    data = saved(scene(64, 48), subsampling=0)
    at = data.index(b"\xff\xda")
    assert coefficient_bytes(data[: at + 4] + b"\1" + data[at + 5 :]) == 6 * 64 * 48


def test_a_phones_largest_photo_is_accepted_by_default() -> None:
    limits = Settings().pixel_limits
    photo = PLAIN.replace(struct.pack(">HH", 80, 120), struct.pack(">HH", 9000, 12000), 1)
    assert upright_size(photo, *limits) == (12000, 9000)
    with pytest.raises(ImageError, match="12000×9000"):
        upright_size(png_header(12000, 9000), *limits)
    assert Settings(max_image_pixels=50_000_000).pixel_limits == (50_000_000, 50_000_000)
