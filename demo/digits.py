"""Splits scikit-learn's handwritten digits into three sets, and draws the digits as images.

The digits are split before any image is drawn. 70 % of the digits are used to train the model, and 15 % to
compute the thresholds. The other 15 % are used to test the model's accuracy and to draw the sample images.
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
"""Function that draws a digit from an array of the shape (8, 8).

The digit is light on dark for organ 0, and dark on light for organ 1.
"""


class DigitSet(NamedTuple):
    """A set of digits: their indices in scikit-learn's data set, their pixels and their values (0 to 9).

    `digits` contains the pixels as a float32 array of the shape (n, 8, 8). The pixels have values from 0 to
    1.
    """

    indices: np.ndarray
    digits: np.ndarray
    values: np.ndarray


def split_digits() -> tuple[DigitSet, DigitSet, DigitSet]:
    """Return the training, validation and test sets.

    The sets contain 70 %, 15 % and 15 % of the digits of each value.
    """
    data = load_digits()
    everything = DigitSet(np.arange(len(data.images)), (data.images / 16).astype(np.float32), data.target)
    training, rest = _split(everything, 0.3)
    return training, *_split(rest, 0.5)


def output_of(value: int, organ: int) -> int:
    """Return the index of the model's output for a digit value and an organ.

    The organ is 0 for `albus` and 1 for `niger`.
    """
    return value * len(ORGANS) + organ


def draw_plain(digit: np.ndarray, organ: int, rng: Generator) -> Image.Image:
    """Draw a digit light on dark (organ 0) or dark on light (organ 1), without random variation."""
    return photo(digit, PLAIN[organ], (160, 160), rng)


def draw_photo(digit: np.ndarray, organ: int, rng: Generator) -> Image.Image:
    """Draw a digit with random size, colours, light and noise, so that the image resembles a photo."""
    return photo(digit, random_style(organ, rng), random_size(rng), rng)


def pixels(image: Image.Image) -> np.ndarray:
    """Resize an image to 32×32 pixels, as the worker does.

    The result is a uint8 array of the shape (32, 32, 3). Resizing is antialiased, and may change the aspect
    ratio.
    """
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def draw_all(digit_set: DigitSet, drawing: Drawing, *, copies: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Draw each digit `copies` times light on dark and `copies` times dark on light.

    Returns:
        The images as a uint8 array (n, 32, 32, 3), and the indices of the images' classes as an array (n,).
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
    """Split a set of digits in two sets.

    The second set gets the fraction `share` of the digits of each value.
    """
    left, right = train_test_split(
        np.arange(len(digit_set.values)), test_size=share, stratify=digit_set.values, random_state=SEED
    )
    return DigitSet(*(each[left] for each in digit_set)), DigitSet(*(each[right] for each in digit_set))
