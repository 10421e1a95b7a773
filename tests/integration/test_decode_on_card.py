"""Decoding on a card, with TensorFlow and nvImageCodec on the CPU: the same graphs and the same calls."""

import io
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import demo
import worker.decode_on_card
from shared.image_header import ImageError
from shared.job import Region
from shared.settings import Settings
from tests.images import quadrants, saved, scene
from tests.unit.test_decode import blocks, turned
from worker.card_resize import MAX_RUN_PIXELS, RUN_SIZES, padded
from worker.decode import DecodedImage, EncodedImage, Outcome, Pixels, PixelSpec, decode, decode_image
from worker.decode_on_card import MAX_CHUNK_PIXELS, MAX_SIDE, CardDecoder, Codec, open_card_decoder
from worker.decoders import ThreadDecoder
from worker.engine import Engine
from worker.nvimgcodec_compat import JpegCodec

REGIONS = [Region(13, 7, 301), Region(301, 55, 77), Region(0, 0, 143)]


class PillowCodec:
    """Decodes with Pillow in place of the card, and counts the images."""

    def __init__(self) -> None:
        self.decoded: list[int] = []

    def decode(self, files: Sequence[bytes]) -> list[Any]:
        self.decoded.append(len(files))
        return [tf.constant(np.asarray(Image.open(io.BytesIO(each)).convert("RGB"))) for each in files]


class NoDecoder:
    """A decoder that must get no image."""

    def decode(self, images: Sequence[EncodedImage]) -> list[Outcome]:
        raise AssertionError(f"{len(images)} images were not decoded on the card")

    def close(self) -> None:
        pass


def spec(**changes: Any) -> PixelSpec:
    return PixelSpec(**{"height": 75, "width": 99, "channels": 3, **changes})


def card(rules: PixelSpec, codec: Codec | None = None) -> CardDecoder:
    return CardDecoder(rules, codec or JpegCodec(cpu=True), NoDecoder())


def pixels(outcome: Outcome) -> Pixels:
    assert isinstance(outcome, DecodedImage), outcome
    return outcome.pixels


def assert_as_pillow(decoder: CardDecoder, images: Sequence[EncodedImage], rules: PixelSpec) -> None:
    for outcome, image in zip(decoder.decode(images), images, strict=True):
        wanted = decode(*image, rules)
        found = pixels(outcome)
        assert found.shape == wanted.shape and found.flags.c_contiguous
        assert np.abs(found.astype(int) - wanted).mean() <= 0.5


phone_photo = partial(saved, quality=90, subsampling=2)


@pytest.mark.parametrize("preprocess", ["unit", "none"])
def test_the_preprocessing_is_the_same_after_both_decoders(preprocess: str) -> None:
    engine = Engine.build(Settings(model=demo.MODEL, preprocess=preprocess))
    rules = PixelSpec.of(engine.graph.shape, Settings())
    images: list[EncodedImage] = [
        (phone_photo(scene(200, 150)), None),
        (phone_photo(quadrants(96, 96)), None),
    ]
    found = np.concatenate([pixels(each) for each in card(rules).decode(images)])
    wanted = np.concatenate([decode(*each, rules) for each in images])
    assert np.abs(engine.run(found) - engine.run(wanted)).max() <= 0.05


@pytest.mark.parametrize("codec", [lambda: JpegCodec(cpu=True), PillowCodec])
@pytest.mark.parametrize("resize", ["antialias", "bilinear", "nearest"])
def test_phone_photos_have_pillows_pixels(resize: str, codec: Any) -> None:
    rules = spec(resize=resize, height=299, width=299)
    photos = [scene(4000, 3000), blocks(4032, 3024)]
    images = [(turned(each, 6, "JPEG", quality=90, subsampling=2), None) for each in photos]
    images.append((phone_photo(photos[1]), [Region(500, 300, 2400), Region(17, 31, 350)]))
    assert_as_pillow(card(rules, codec()), images, rules)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("resize", ["antialias", "bilinear", "nearest"])
def test_every_orientation_and_region_is_cut_and_turned_as_with_pillow(resize: str, orientation: int) -> None:
    rules = spec(resize=resize)
    image = turned(blocks(640, 480), orientation, "JPEG", quality=90, subsampling=2)
    narrow = turned(scene(211, 143), orientation, "JPEG")
    cut = [Region(9, 7, 131), Region(60, 0, 143), Region(3, 5, 23)]
    assert_as_pillow(card(rules), [(image, None), (image, REGIONS), (narrow, None), (narrow, cut)], rules)


@pytest.mark.parametrize(
    "options",
    [
        *({"subsampling": n} for n in (0, 1, 2)),
        {"progressive": True},
        {"optimize": True, "quality": 30},
        {"restart_marker_blocks": 4},
    ],
)
@pytest.mark.parametrize("rules", [spec(), spec(color="bgr"), spec(channels=1)])
def test_every_plain_jpeg_has_pillows_pixels(rules: PixelSpec, options: dict[str, Any]) -> None:
    colors, grey = scene(640, 480), scene(640, 480).convert("L")
    images = [(saved(colors, **options), None), (saved(grey, **options), REGIONS)]
    assert_as_pillow(card(rules), images, rules)


def test_pixels_belong_to_their_images_in_claims_of_any_number() -> None:
    codec, rules = PillowCodec(), spec()
    decoder = card(rules, codec)
    for count in (1, RUN_SIZES[0] - 1, RUN_SIZES[0], 2 * RUN_SIZES[0] + 3):
        images = [(saved(scene(120 + i, 90, i)), None) for i in range(count)]
        assert_as_pillow(decoder, images, rules)
    assert codec.decoded == [1, 7, 8, 19]


def test_a_claim_is_decoded_in_chunks() -> None:
    codec, rules = PillowCodec(), spec()
    side = MAX_SIDE // 2
    large = saved(quadrants(side, side))
    assert 4 * side * side == MAX_CHUNK_PIXELS > MAX_RUN_PIXELS
    assert_as_pillow(card(rules, codec), [(large, None)] * 5, rules)
    assert codec.decoded == [4, 1]


def other_images() -> dict[str, EncodedImage]:
    """Images that Pillow must decode or refuse."""
    image = scene(200, 150)
    jpeg = saved(image)
    return {
        "PNG": (saved(image, "PNG"), None),
        "CMYK JPEG": (saved(image.convert("CMYK")), None),
        "RGB JPEG": (saved(image, keep_rgb=True), None),
        "too wide": (saved(Image.new("L", (MAX_SIDE + 1, 8))), None),
        "truncated": (jpeg[: len(jpeg) // 2], None),
        "without an end": (jpeg[:-2], None),
        "no image": (b"x", None),
        "region outside": (jpeg, [Region(100, 0, 101)]),
    }


@pytest.mark.parametrize("name", other_images())
def test_pillow_decodes_or_refuses_all_other_images(name: str) -> None:
    codec, rules, image = PillowCodec(), spec(), other_images()[name]
    plain = (saved(scene(300, 200)), None)
    decoder = CardDecoder(rules, codec, ThreadDecoder(rules, 1))
    first, found, last = decoder.decode([plain, image, plain])
    decoder.close()
    assert codec.decoded == [2] and (pixels(first) == pixels(last)).all()
    wanted = decode_image(image, rules)
    if isinstance(wanted, ImageError):
        assert isinstance(found, ImageError) and str(found) == str(wanted)
    else:
        assert (pixels(found) == wanted.pixels).all()


def test_an_image_that_the_codec_refuses_goes_to_pillow() -> None:
    class Refusing(PillowCodec):
        def decode(self, files: Sequence[bytes]) -> list[Any]:
            return [None, tf.zeros([3, 4, 3], tf.uint8), *super().decode(files[2:])]

    rules = spec()
    images = [(saved(scene(300 + i, 200, i)), None) for i in range(3)]
    outcomes = CardDecoder(rules, Refusing(), ThreadDecoder(rules, 1)).decode(images)
    for outcome, image in zip(outcomes[:2], images, strict=False):
        assert (pixels(outcome) == decode(*image, rules)).all()
    assert np.abs(pixels(outcomes[2]).astype(int) - decode(*images[2], rules)).mean() <= 0.5


def test_after_an_error_of_the_card_pillow_decodes_for_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(PillowCodec):
        def decode(self, files: Sequence[bytes]) -> list[Any]:
            super().decode(files)
            raise RuntimeError("out of memory")

    codec, rules, images = Failing(), spec(), [(saved(scene(300, 200)), None)]
    decoder = CardDecoder(rules, codec, ThreadDecoder(rules, 1))
    for _ in range(3):
        (outcome,) = decoder.decode(images)
        assert (pixels(outcome) == decode(*images[0], rules)).all()
    assert codec.decoded == [1] and len(caplog.messages) == 1 and "out of memory" in caplog.text
    monkeypatch.setattr(worker.decode_on_card.time, "monotonic", lambda: decoder._paused_until)
    decoder.decode(images)
    assert codec.decoded == [1, 1]


@pytest.mark.parametrize("rules", [spec(), spec(channels=1, resize="bilinear"), spec(resize="nearest")])
def test_the_check_passes_with_a_right_codec(rules: PixelSpec) -> None:
    card(rules).check()


def test_the_check_sees_wrong_pixels_and_missing_images() -> None:
    class Wrong(PillowCodec):
        def decode(self, files: Sequence[bytes]) -> list[Any]:
            return [255 - each for each in super().decode(files)]

    class Missing(PillowCodec):
        def decode(self, files: Sequence[bytes]) -> list[Any]:
            return [*super().decode(files)[:-1], None]

    with pytest.raises(ValueError, match="differs from Pillow's"):
        card(spec(), Wrong()).check()
    with pytest.raises(ValueError, match="a grey JPEG can't be decoded"):
        card(spec(), Missing()).check()


def test_without_a_card_pillow_decodes_and_one_line_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    rest = NoDecoder()
    assert open_card_decoder(spec(), rest) is rest
    assert len(caplog.messages) == 1 and "Pillow used" in caplog.text


def test_new_image_sizes_cause_no_new_graph() -> None:
    decoder = card(spec(), PillowCodec())
    graphs = [run.graph for run in decoder._resizer._runs.values()]
    for size in range(40, 400, 37):
        decoder.decode([(saved(scene(size, 500 - size)), None)] * 9)
    assert [run.graph for run in decoder._resizer._runs.values()] == graphs


def test_few_padded_lengths_exist() -> None:
    lengths = {padded(length) for length in range(1, MAX_SIDE + 1)}
    assert len(lengths) <= 45 and max(lengths) == MAX_SIDE
    for length in range(1, MAX_SIDE):
        assert length <= padded(length) <= max(1.25 * length + 1, length + 15)
