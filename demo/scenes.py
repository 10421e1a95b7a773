"""Draws the sample images, from held-out digits only, and says what each shows."""

import json
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng
from PIL import Image, ImageDraw, ImageFilter

from demo import EXPECTED, SAMPLES
from demo.digits import NAMES, SEED, Part, output_of
from demo.draw import PAPER, SLATE, photo

LOOKS = (SLATE, PAPER)
DESK = (640, 480)
CARDS = ((7, 0, 11, (30, 30), 240), (7, 1, 21, (380, 50), 220), (2, 0, 4, (235, 290), 170))
"""What lies on the desk: value, organ, which of the held-out digits of that value, left and top, side."""
INSET = 10
"""Pixels between the edge of a card and the region that a caller asks for."""
SINGLES = (2, 1, 4, 12, 0, 7, 4, 7, 0, 5)
"""Which of the held-out digits of each value stands in samples/digits/."""


def write_samples(held_out: Part) -> None:
    """Write the images, and expected.json: each one's regions as a request has them, and its classes."""
    (SAMPLES / "digits").mkdir(parents=True, exist_ok=True)
    rng = default_rng(SEED)
    siete = photo(_pick(held_out, 7, 4), SLATE, (320, 240), rng)
    siete.save(SAMPLES / "siete.jpg", quality=85)
    photo(_pick(held_out, 3, 19), PAPER, (200, 200), rng).save(SAMPLES / "tres.png", optimize=True)
    _desk(held_out, rng).save(SAMPLES / "tres-regiones.jpg", quality=85)
    expected = {
        "siete.jpg": _shows((7, 0)),
        "tres.png": _shows((3, 1)),
        "tres-regiones.jpg": _shows(*((card[0], card[1]) for card in CARDS), regions=_regions()),
    }
    for value, which in enumerate(SINGLES):
        organ = value % 2
        image = photo(_pick(held_out, value, which), LOOKS[organ], (112, 112), rng)
        image.save(SAMPLES / "digits" / f"{value}.png", optimize=True)
        expected[f"digits/{value}.png"] = _shows((value, organ))
    lines = (f"  {json.dumps(name)}: {json.dumps(shown)}" for name, shown in expected.items())
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _pick(held_out: Part, value: int, which: int) -> np.ndarray:
    return held_out.digits[held_out.values == value][which]


def _shows(*classes: tuple[int, int], regions: str | None = None) -> dict[str, Any]:
    return {"regions": regions, "classes": [NAMES[output_of(*each)] for each in classes]}


def _regions() -> str:
    """The cards' regions, as a request writes them: `x,y,side;x,y,side`."""
    squares = ((x + INSET, y + INSET, side - 2 * INSET) for _, _, _, (x, y), side in CARDS)
    return ";".join(f"{x},{y},{side}" for x, y, side in squares)


def _desk(held_out: Part, rng: Generator) -> Image.Image:
    """A slate, a paper and a small slate on a wooden desk."""
    desk = _wood(rng)
    shadows = Image.new("L", DESK, 0)
    for _, _, _, (x, y), side in CARDS:
        ImageDraw.Draw(shadows).rectangle((x + 5, y + 7, x + side + 5, y + side + 7), fill=130)
    desk.paste((20, 12, 6), mask=shadows.filter(ImageFilter.GaussianBlur(6)))
    for value, organ, which, corner, side in CARDS:
        desk.paste(photo(_pick(held_out, value, which), LOOKS[organ], (side, side), rng), corner)
    return desk


def _wood(rng: Generator) -> Image.Image:
    """An empty desk: streaks of brown along its length."""
    streaks = Image.fromarray(rng.normal(0, 1, (160, 5)).astype(np.float32))
    grain = np.asarray(streaks.resize(DESK, Image.Resampling.BICUBIC))
    noise = rng.normal(0, 2, grain.shape).astype(np.float32)
    brown = np.float32((164, 120, 82)) * (1 + 0.06 * grain[..., None]) + noise[..., None]
    return Image.fromarray(brown.clip(0, 255).round().astype(np.uint8))
