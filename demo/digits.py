"""The digits: parted, drawn, and seen as the service sees them.

They are scikit-learn's, and they are parted before anything is drawn. The model learns from 70 % of them,
the thresholds come from another 15 %, and the accuracy and the samples from the last 15 %.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, default_rng
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from demo.draw import PLAIN, photo, random_look, random_size

SEED = 7
SIDE = 32
"""Height and width of the model's input, in pixels."""

SPECIES = ("nullus", "unus", "duo", "tres", "quattuor", "quinque", "sex", "septem", "octo", "novem")
ORGANS = ("albus", "niger")
NAMES = [f"Digitus {species} {organ}" for species in SPECIES for organ in ORGANS]
"""The classes, in the order of the model's outputs."""

Drawing = Callable[[np.ndarray, int, Generator], Image.Image]
"""Draws a digit (8, 8) in an organ."""


class Part(NamedTuple):
    """Some of the digits: their numbers in the data set, float32 (n, 8, 8) from 0 to 1, and their values."""

    numbers: np.ndarray
    digits: np.ndarray
    values: np.ndarray


def parts() -> tuple[Part, Part, Part]:
    """The digits to learn from, to validate with and to hold out: 70, 15 and 15 % of each value."""
    data = load_digits()
    everything = Part(np.arange(len(data.images)), (data.images / 16).astype(np.float32), data.target)
    learned, rest = _split(everything, 0.3)
    validation, held_out = _split(rest, 0.5)
    return learned, validation, held_out


def output_of(value: int, organ: int) -> int:
    """The index of a class among the model's outputs."""
    return value * len(ORGANS) + organ


def draw_plain(digit: np.ndarray, organ: int, rng: Generator) -> Image.Image:
    """The clean drawing."""
    return photo(digit, PLAIN[organ], (160, 160), rng)


def draw_photo(digit: np.ndarray, organ: int, rng: Generator) -> Image.Image:
    """A drawing as photos vary."""
    return photo(digit, random_look(organ, rng), random_size(rng), rng)


def pixels(image: Image.Image) -> np.ndarray:
    """What the service makes of an image: uint8 (32, 32, 3), antialiased, its proportions ignored."""
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def views(part: Part, drawing: Drawing, *, copies: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Draw each digit in both organs, `copies` times: uint8 (n, 32, 32, 3) and its outputs' indices (n,)."""
    images, outputs = [], []
    for number, digit, value in zip(*part, strict=True):
        for organ in range(len(ORGANS)):
            for copy in range(copies):
                rng = default_rng((SEED, number, organ, copy))
                images.append(pixels(drawing(digit, organ, rng)))
                outputs.append(output_of(value, organ))
    return np.stack(images), np.array(outputs)


def _split(part: Part, share: float) -> tuple[Part, Part]:
    """Part off a share of each value."""
    left, right = train_test_split(
        np.arange(len(part.values)), test_size=share, stratify=part.values, random_state=SEED
    )
    return Part(*(each[left] for each in part)), Part(*(each[right] for each in part))
