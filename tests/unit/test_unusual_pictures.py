"""Unusual pictures: each is read with its right pixels, or refused with a sentence that helps."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from gateway.problem import Problem
from gateway.upload.fields import read_upload
from gateway.upload.form import Form
from shared.image_header import ImageError, upright_size
from shared.settings import Settings
from tests.images import quadrants, saved
from worker.decode import PixelSpec, decode

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

PICTURES = Path(__file__).parent.parent / "cases" / "pictures"
SPEC = PixelSpec(80, 120, 3, resize="nearest")
TURNED = PixelSpec(120, 80, 3, resize="nearest")

READ = {
    "avif.avif": "scene",
    "exif-6.jpg": "turned",
    "gif-first-frame-offset.gif": "as Pillow",
    "icc-display-p3.jpg": "as Pillow",
    "jpeg-cmyk-adobe-inverted.jpg": "scene",
    "jpeg-no-eoi.jpg": "scene",
    "mpo.jpg": "scene",
    "png-grey16-dark.png": "upper 8 bits",
    "png-rgba-cutout.png": "as Pillow",
    "tiff-miniswhite16.tif": "grey scene",
    "tiff-rgb16-planar.tif": "scene",
    "xmp-6-only.jpg": "scene",
}
REFUSED = {
    "base64.jpg": ("unsupported", "base64 text", "Decode the base64"),
    "bmp-embedded-png.bmp": ("unsupported", "kind that is not supported", "Convert it to JPEG or PNG"),
    "data-url.jpg": ("unsupported", "data address", "Decode the base64"),
    "double-soi.jpg": ("damaged", "the image is damaged"),
    "heic-named.jpg": ("unsupported", "HEIC image", "Convert it to JPEG", "Most Compatible"),
    "heic.heic": ("unsupported", "HEIC image", "Convert it to JPEG", "Most Compatible"),
    "jpeg-12bit.jpg": ("unsupported", "JPEG image with 12 bits", "8 bits per sample"),
    "newline-before-soi.jpg": ("unsupported", "after blank lines", "Remove the bytes before the image"),
    "tiff-rgb-float32.tif": ("unsupported", "floating-point samples of 32+32+32 bits", "8 bits per sample"),
    "truncated-99.jpg": ("damaged", "truncated"),
}


def picture_file(name: str) -> bytes:
    return (PICTURES / name).read_bytes()


def truth() -> np.ndarray:
    """Return the scene of most of the files, from the uncompressed planes of one of them."""
    planes = np.frombuffer(picture_file("tiff-rgb16-planar.tif"), "<u2", 3 * 80 * 120, 288).reshape(
        3, 80, 120
    )
    return (planes >> 8).transpose(1, 2, 0).astype(np.uint8)


def expected(name: str) -> np.ndarray:
    picture = Image.fromarray(truth())
    match READ[name]:
        case "turned":
            picture = picture.transpose(Image.Transpose.ROTATE_270)
        case "grey scene":
            picture = picture.convert("L").convert("RGB")
        case "as Pillow":
            picture = Image.open(PICTURES / name).convert("RGB")
        case "upper 8 bits":
            samples = np.asarray(Image.open(PICTURES / name)) >> 8
            picture = Image.fromarray(samples.astype(np.uint8)).convert("RGB")
    return np.asarray(picture).astype(int)


def refusal(data: bytes, spec: PixelSpec = SPEC) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode(data, None, spec)
    return caught.value


def test_every_file_is_in_one_of_the_tables() -> None:
    assert READ.keys() | REFUSED.keys() == {path.name for path in PICTURES.iterdir()}


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_with_its_right_pixels(name: str) -> None:
    (pixels,) = decode(picture_file(name), None, TURNED if READ[name] == "turned" else SPEC)
    exact = READ[name] in ("as Pillow", "upper 8 bits") or name == "tiff-rgb16-planar.tif"
    assert np.abs(pixels - expected(name)).mean() <= (0 if exact else 7)


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused_with_a_sentence_that_helps(name: str) -> None:
    error = refusal(picture_file(name))
    kind, *texts = REFUSED[name]
    assert error.kind == kind
    assert all(text in str(error) for text in texts), str(error)


def test_icc_and_orientation_follow_pillow_for_usual_photos() -> None:
    image = ImageOps.exif_transpose(Image.open(PICTURES / "exif-6.jpg"))
    assert (decode(picture_file("exif-6.jpg"), None, TURNED)[0] == np.asarray(image)).all()


PLAIN = saved(quadrants())


def with_frame(marker: int, bits: int = 8, channels: int = 3) -> bytes:
    frame = struct.pack(">BHHB", bits, 80, 120, channels) + b"\1\x11\0" * channels
    return b"\xff\xd8" + struct.pack(">BBH", 0xFF, marker, len(frame) + 2) + frame + PLAIN[2:]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (with_frame(0xF7), "JPEG-LS"),
        (with_frame(0xC5), "hierarchical"),
        (with_frame(0xCF), "hierarchical"),
        (with_frame(0xC1, bits=12), "12 bits"),
        (with_frame(0xC3, bits=16), "16 bits"),
        (with_frame(0xC0, channels=5), "5 channels"),
    ],
)
def test_a_whole_jpeg_of_an_unsupported_kind_is_not_called_damaged(data: bytes, text: str) -> None:
    with pytest.raises(ImageError, match=f"{text}.*not supported.*8 bits per sample") as caught:
        upright_size(data, 10**6)
    assert caught.value.kind == "unsupported"


@pytest.mark.parametrize("name", [*READ, *REFUSED])
def test_the_gateway_refuses_unsupported_files_before_a_job_is_created(name: str) -> None:
    form, status = Form({"blob": [picture_file(name)]}, {}), None
    try:
        read_upload(form, Settings())
    except Problem as problem:
        status = problem.status
    assert status == (415 if REFUSED.get(name, ("",))[0] == "unsupported" else None)
