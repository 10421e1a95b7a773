"""Rendered digits, and small models trained on them with different preprocessing."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIDE = 28
CLASSES = tuple("0123456789")

Pixels = NDArray[np.uint8]


def draw(count: int, seed: int) -> tuple[Pixels, NDArray[np.intp]]:
    """Return images of digits [count, 28, 28, 1] on dark, noisy ground, and the digits."""
    random = np.random.default_rng(seed)
    digits = np.arange(count) % 10
    images = []
    for digit in digits:
        image = Image.new("L", (SIDE, SIDE))
        font = ImageFont.load_default(size=int(random.integers(16, 23)))
        place = (int(random.integers(4, 12)), int(random.integers(-1, 5)))
        ImageDraw.Draw(image).text(place, str(digit), int(random.integers(120, 256)), font)
        noise = random.integers(0, 25, (SIDE, SIDE, 1), np.uint8)
        images.append(np.maximum(np.asarray(image)[..., None], noise))
    return np.stack(images), digits


def train(path: Path, count: int = 1500) -> Any:
    """Train a small model on pixels / 255, save it, and return it."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    pixels, digits = draw(count, 1)
    model = keras.Sequential(
        [
            layers.Input(pixels.shape[1:]),
            layers.Conv2D(12, 5, strides=2, activation="relu"),
            layers.Conv2D(24, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
    model.fit(pixels / np.float32(255), digits, batch_size=64, epochs=6, verbose=0)
    model.save(path)
    return model


def save(folder: Path, pixels: Pixels, digits: NDArray[np.intp]) -> list[Path]:
    """Write each image as a PNG file into a folder with its digit's name; return the files."""
    files = []
    for number, (image, digit) in enumerate(zip(pixels, digits, strict=True)):
        file = folder / str(digit) / f"{number:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze()).save(file)
        files.append(file)
    return files
