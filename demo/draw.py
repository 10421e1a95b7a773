"""Draws an 8x8 digit as a photo: chalk on a slate (albus) or ink on paper (niger).

A drawing depends only on its arguments and its random generator. Equal seeds therefore give equal pixels.
Digits are float32 arrays of shape (8, 8), from 0 (no stroke) to 1 (full stroke). Colours are RGB values from
0 to 255.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image

Colour = tuple[float, float, float]
Size = tuple[int, int]

BORDER = 4
"""Number of empty cells that are added on each side of a digit.

The digit needs this space when it is rotated and shifted.
"""


@dataclass(frozen=True)
class Style:
    """The colours, position, light and noise of a drawn digit.

    Lengths are relative to the shorter side of the image.
    """

    ground: Colour
    stroke: Colour
    fill: float = 0.85
    angle_degrees: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    level: float = 0.5
    softness: float = 0.6
    light: float = 0.0
    grain: float = 0.0
    chalk: float = 0.0
    rule: float = 0.0


PLAIN = (
    Style(ground=(40, 40, 40), stroke=(225, 225, 225)),
    Style(ground=(225, 225, 225), stroke=(40, 40, 40)),
)
"""The plain styles of `albus` and `niger`: no noise, no tint, upright and centred."""

SLATE = Style((43, 55, 52), (233, 231, 222), level=0.6, softness=0.25, light=0.1, grain=3, chalk=0.45)
PAPER = Style((240, 233, 216), (38, 44, 74), level=0.6, softness=0.25, light=0.04, grain=2, rule=0.11)


def random_style(organ: int, rng: Generator) -> Style:
    """Return a style with random colours, light, noise, angle and stroke, as in photos."""
    dark, bright = rng.uniform(5, 85), rng.uniform(150, 250)
    ground, stroke = (dark, bright) if organ == 0 else (bright, dark)
    return Style(
        ground=_tinted(ground, rng),
        stroke=_tinted(stroke, rng),
        fill=rng.uniform(0.6, 1.0),
        angle_degrees=rng.uniform(-14, 14),
        shift=(rng.uniform(-0.09, 0.09), rng.uniform(-0.09, 0.09)),
        level=rng.uniform(0.3, 0.68),
        softness=rng.uniform(0.1, 0.8),
        light=rng.uniform(0, 0.15),
        grain=rng.uniform(0, 12),
        chalk=rng.uniform(0, 0.5),
        rule=rng.uniform(0.06, 0.2) if rng.random() < 0.3 else 0.0,
    )


def random_size(rng: Generator) -> Size:
    """Return a random width and height in pixels.

    The longer side is at most 1.5 times as long as the shorter side.
    """
    side, aspect = rng.uniform(72, 200), 1.5 ** rng.uniform(-1, 1)
    return round(side * aspect**0.5), round(side / aspect**0.5)


def photo(digit: np.ndarray, style: Style, size: Size, rng: Generator) -> Image.Image:
    """Draw `digit` as an RGB image. `size` is the image's width and height in pixels."""
    width, height = size
    mask = _strokes(digit, style, size)
    if style.chalk:
        mask = mask * (1 - style.chalk * rng.random((height, width), np.float32))
    surface = _surface(style, size, rng)
    mixed = surface + mask[..., None] * (np.float32(style.stroke) - surface)
    if style.grain:
        mixed += rng.normal(0, style.grain, (height, width, 1)).astype(np.float32)
    return Image.fromarray(mixed.clip(0, 255).round().astype(np.uint8))


def _tinted(brightness: float, rng: Generator) -> Colour:
    red, green, blue = (brightness + rng.uniform(-22, 22, 3)).clip(0, 255)
    return float(red), float(green), float(blue)


def _strokes(digit: np.ndarray, style: Style, size: Size) -> np.ndarray:
    """Return a float32 array (height, width) that shows how much the digit's stroke covers each pixel.

    The values are from 0 (not covered) to 1 (fully covered).
    """
    width, height = size
    cells_per_pixel = len(digit) / (style.fill * min(size))
    angle = np.radians(style.angle_degrees)
    a, b = np.cos(angle) * cells_per_pixel, np.sin(angle) * cells_per_pixel
    x = width / 2 + style.shift[0] * min(size)
    y = height / 2 + style.shift[1] * min(size)
    centre = len(digit) / 2 + BORDER
    turn = (a, b, centre - a * x - b * y, -b, a, centre + b * x - a * y)
    cells = Image.fromarray(np.pad(digit, BORDER))
    smooth = np.asarray(
        cells.transform(size, Image.Transform.AFFINE, turn, resample=Image.Resampling.BICUBIC)
    )
    return ((smooth - style.level) / style.softness + 0.5).clip(0, 1)


def _surface(style: Style, size: Size, rng: Generator) -> np.ndarray:
    """Draw paper or slate under uneven light, as a float32 array of the shape (height, width, 3)."""
    blotches = Image.fromarray(rng.uniform(-1, 1, (4, 4)).astype(np.float32))
    light = 1 + style.light * np.asarray(blotches.resize(size, Image.Resampling.BICUBIC))
    if style.rule:
        pitch = max(4, round(style.rule * min(size)))
        light[pitch // 2 :: pitch] *= 0.9
        light[:, pitch // 2 :: pitch] *= 0.9
    return light[..., None] * np.float32(style.ground)
