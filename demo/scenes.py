"""Draws the sample images from digits of the test set, and writes the right classes of each image."""

import json
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng
from PIL import Image, ImageDraw, ImageFilter

from demo import EXPECTED, SAMPLES
from demo.digits import NAMES, SEED, DigitSet, output_of
from demo.draw import PAPER, SLATE, photo

STYLES = (SLATE, PAPER)
DESK = (640, 480)
CARDS = ((7, 0, 11, (30, 30), 240), (7, 1, 21, (380, 50), 220), (2, 0, 4, (235, 290), 170))
"""The cards in the sample image of a desk. Each card shows a digit.

A card is specified by these values, in this order:

- the digit's value
- the organ: 0 is `albus`, and 1 is `niger`
- the digit's index among the test digits of the same value
- the top left corner of the card, in pixels
- the side of the card, in pixels
"""
INSET = 10
"""Distance between the edge of a card and the edge of the card's region, in pixels."""
SINGLES = (2, 1, 4, 12, 0, 7, 4, 7, 0, 5)
"""The digits in samples/digits/, one for each value from 0 to 9.

Each number is the digit's index among the test digits of the same value.
"""


def write_samples(test: DigitSet) -> None:
    """Write the sample images and the file expected.json.

    For each image, expected.json contains the form field `regions` and the right classes.
    """
    (SAMPLES / "digits").mkdir(parents=True, exist_ok=True)
    rng = default_rng(SEED)
    siete = photo(_pick(test, 7, 4), SLATE, (320, 240), rng)
    siete.save(SAMPLES / "siete.jpg", quality=85)
    photo(_pick(test, 3, 19), PAPER, (200, 200), rng).save(SAMPLES / "tres.png", optimize=True)
    _desk(test, rng).save(SAMPLES / "tres-regiones.jpg", quality=85)
    expected = {
        "siete.jpg": _expected((7, 0)),
        "tres.png": _expected((3, 1)),
        "tres-regiones.jpg": _expected(*((card[0], card[1]) for card in CARDS), regions=_regions()),
    }
    for value, index in enumerate(SINGLES):
        organ = value % 2
        image = photo(_pick(test, value, index), STYLES[organ], (112, 112), rng)
        image.save(SAMPLES / "digits" / f"{value}.png", optimize=True)
        expected[f"digits/{value}.png"] = _expected((value, organ))
    lines = (f"  {json.dumps(name)}: {json.dumps(each)}" for name, each in expected.items())
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _pick(test: DigitSet, value: int, index: int) -> np.ndarray:
    return test.digits[test.values == value][index]


def _expected(*classes: tuple[int, int], regions: str | None = None) -> dict[str, Any]:
    return {"regions": regions, "classes": [NAMES[output_of(*each)] for each in classes]}


def _regions() -> str:
    """Return the cards' regions as the text `x,y,side;x,y,side`.

    This is the format of the form field `regions`.
    """
    squares = ((x + INSET, y + INSET, side - 2 * INSET) for _, _, _, (x, y), side in CARDS)
    return ";".join(f"{x},{y},{side}" for x, y, side in squares)


def _desk(test: DigitSet, rng: Generator) -> Image.Image:
    """Draw a wooden desk with a large slate, a sheet of paper and a small slate.

    Each of the three objects shows a digit.
    """
    desk = _wood(rng)
    shadows = Image.new("L", DESK, 0)
    for _, _, _, (x, y), side in CARDS:
        ImageDraw.Draw(shadows).rectangle((x + 5, y + 7, x + side + 5, y + side + 7), fill=130)
    desk.paste((20, 12, 6), mask=shadows.filter(ImageFilter.GaussianBlur(6)))
    for value, organ, index, corner, side in CARDS:
        desk.paste(photo(_pick(test, value, index), STYLES[organ], (side, side), rng), corner)
    return desk


def _wood(rng: Generator) -> Image.Image:
    """Draw the wooden surface of the desk, with brown streaks."""
    streaks = Image.fromarray(rng.normal(0, 1, (160, 5)).astype(np.float32))
    grain = np.asarray(streaks.resize(DESK, Image.Resampling.BICUBIC))
    noise = rng.normal(0, 2, grain.shape).astype(np.float32)
    brown = np.float32((164, 120, 82)) * (1 + 0.06 * grain[..., None]) + noise[..., None]
    return Image.fromarray(brown.clip(0, 255).round().astype(np.uint8))
