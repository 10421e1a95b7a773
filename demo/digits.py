"""The digits of scikit-learn: how they are split, drawn and resized.

They are split before anything is drawn: 70 % train the model, 15 % choose the thresholds, and from the last
15 % come the accuracy and the samples.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, default_rng
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from demo.draw import PLAIN, photo, random_size, random_style

SEED = 7
SIDE = 32
"""Height and width of the model's input, in pixels."""

SPECIES = ("nullus", "unus", "duo", "tres", "quattuor", "quinque", "sex", "septem", "octo", "novem")
ORGANS = ("albus", "niger")
NAMES = [f"Digitus {species} {organ}" for species in SPECIES for organ in ORGANS]
"""The class names, in the order of the model's outputs."""

Drawing = Callable[[np.ndarray, int, Generator], Image.Image]
"""Draws a digit (8, 8) of an organ."""


class DigitSet(NamedTuple):
    """Digits: their indices in the data set, float32 (n, 8, 8) from 0 to 1, and their values."""

    indices: np.ndarray
    digits: np.ndarray
    values: np.ndarray


def split_digits() -> tuple[DigitSet, DigitSet, DigitSet]:
    """Return the digits for training, validation and test: 70, 15 and 15 % of each value."""
    data = load_digits()
    everything = DigitSet(np.arange(len(data.images)), (data.images / 16).astype(np.float32), data.target)
    training, rest = _split(everything, 0.3)
    return training, *_split(rest, 0.5)


def output_of(value: int, organ: int) -> int:
    """Return the index of a class among the model's outputs."""
    return value * len(ORGANS) + organ


def draw_plain(digit: np.ndarray, organ: int, rng: Generator) -> Image.Image:
    """Draw a digit without variation."""
    return photo(digit, PLAIN[organ], (160, 160), rng)


def draw_photo(digit: np.ndarray, organ: int, rng: Generator) -> Image.Image:
    """Draw a digit with the variation of photos."""
    return photo(digit, random_style(organ, rng), random_size(rng), rng)


def pixels(image: Image.Image) -> np.ndarray:
    """Resize an image as the service does: uint8 (32, 32, 3), antialiased, without keeping proportions."""
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def draw_all(digit_set: DigitSet, drawing: Drawing, *, copies: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Draw each digit in both organs, `copies` times.

    Returns:
        The images, uint8 (n, 32, 32, 3), and the indices of their classes (n,).
    """
    images, outputs = [], []
    for index, digit, value in zip(*digit_set, strict=True):
        for organ in range(len(ORGANS)):
            for copy in range(copies):
                rng = default_rng((SEED, index, organ, copy))
                images.append(pixels(drawing(digit, organ, rng)))
                outputs.append(output_of(value, organ))
    return np.stack(images), np.array(outputs)


def _split(digit_set: DigitSet, share: float) -> tuple[DigitSet, DigitSet]:
    """Return two sets; the second has this share of each value."""
    left, right = train_test_split(
        np.arange(len(digit_set.values)), test_size=share, stratify=digit_set.values, random_state=SEED
    )
    return DigitSet(*(each[left] for each in digit_set)), DigitSet(*(each[right] for each in digit_set))
