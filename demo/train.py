"""Makes the demo model, its classes, its thresholds and the sample images.

The command is `python -m demo.train`.
"""

import csv
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import default_rng
from PIL import Image
from sklearn.datasets import load_sample_images

from demo import CLASSES, MODEL, THRESHOLDS
from demo.digits import NAMES, SEED, SIDE, DigitSet, draw_all, draw_photo, draw_plain, pixels, split_digits
from demo.scenes import write_samples

COPIES = 10
"""Number of photos that show each training digit light on dark.

The same number of photos show the digit dark on light.
"""
EMPTY_IMAGES = 4000
"""Number of training images without a digit. The model learns to give low scores to such images."""
CHECK_COPIES = 2
"""Number of photos that show each validation digit light on dark.

The same number of photos show the digit dark on light.
"""
EPOCHS = 10
BATCH = 64
HEADER = ("class", "top1_minval", "top1_maxval", "top2_minval", "top2_maxval", "correct_percentage")

Row = tuple[float | None, ...]


def scores_of(model: Any, images: np.ndarray) -> np.ndarray:
    """Return the model's scores for n images.

    The images are a uint8 array (n, 32, 32, 3). The scores are a float32 array (n, 20).
    """
    return np.asarray(model.predict(_preprocess(images), batch_size=256, verbose=0))


def accuracy(scores: np.ndarray, outputs: np.ndarray) -> float:
    """Return the share of images whose right class has the highest score.

    `scores` has the shape (n, 20). `outputs` contains the index of each image's right class.
    """
    return float((scores.argmax(axis=1) == outputs).mean())


def threshold_rows(scores: np.ndarray, outputs: np.ndarray) -> list[Row]:
    """Compute a row of thresholds.csv for each class from scores (n, 20) and right classes (n,).

    A row contains these numbers, in this order:

    - The first two numbers are the lowest and highest score of the class's correct best answers. The best
      answer to an image is the class with the highest score.
    - The next two numbers are the class's lowest and highest score in all wrong best answers and second-best
      answers.
    - The last number is the share of the class's images for which the class had the highest score.
    """
    second, best = np.argsort(scores, axis=1)[:, -2:].T
    rows: list[Row] = []
    for output in range(scores.shape[1]):
        own = outputs == output
        right = own & (best == output)
        other = (second == output) | (~own & (best == output))
        share = float(right.sum() / own.sum())
        rows.append((*_range(scores[right, output]), *_range(scores[other, output]), share))
    return rows


def empty_images(digit_set: DigitSet, count: int) -> np.ndarray:
    """Draw `count` images without a digit, as a uint8 array (count, 32, 32, 3).

    The images show empty paper, shuffled digits or pieces of photos.
    """
    scenes = [Image.fromarray(scene) for scene in load_sample_images().images]
    return np.stack([pixels(_empty_image(digit_set, scenes, number)) for number in range(count)])


def build() -> Any:
    """Build the network of three convolution layers and a softmax layer. The network has 44,084 weights."""
    from keras import Input, Sequential, layers

    blocks = []
    for filters in (16, 32, 64):
        blocks += [layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
    head = [layers.Flatten(), layers.Dropout(0.3), layers.Dense(len(NAMES), activation="softmax")]
    return Sequential([Input((SIDE, SIDE, 3)), *blocks, *head])


def train(digit_set: DigitSet) -> Any:
    """Train the model with a set of digits."""
    import keras
    from tensorflow.config.experimental import enable_op_determinism

    keras.utils.set_random_seed(SEED)
    enable_op_determinism()
    images, targets = _training_data(digit_set)
    model = build()
    rate = keras.optimizers.schedules.CosineDecay(2e-3, EPOCHS * len(images) // BATCH)
    model.compile(keras.optimizers.Adam(rate), "categorical_crossentropy")
    model.fit(images, targets, batch_size=BATCH, epochs=EPOCHS, verbose=2)
    return model


def write_thresholds(rows: Sequence[Row]) -> None:
    """Write thresholds.csv. If a value is missing, the cell is empty."""
    with THRESHOLDS.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for name, row in zip(NAMES, rows, strict=True):
            writer.writerow([name, *("" if value is None else f"{value:.4f}" for value in row)])


def main() -> None:
    """Write the model's files and the sample images; print the accuracies for demo/README.md."""
    training, validation, test = split_digits()
    write_samples(test)
    CLASSES.write_text("\n".join(NAMES) + "\n")
    model = train(training)
    model.save(MODEL, include_optimizer=False)
    images, outputs = draw_all(validation, draw_photo, copies=CHECK_COPIES)
    write_thresholds(threshold_rows(scores_of(model, images), outputs))
    for drawing in (draw_plain, draw_photo):
        images, outputs = draw_all(test, drawing)
        print(f"test images of {drawing.__name__}: {accuracy(scores_of(model, images), outputs):.2%} right")
    sure = scores_of(model, empty_images(test, 600)).max(axis=1) > 0.5
    print(f"images without a digit: {sure.mean():.2%} have a score above 0.5")


def _preprocess(images: np.ndarray) -> np.ndarray:
    """Apply the preprocessing of inception_v3. The result contains float32 values from -1 to 1."""
    return images.astype(np.float32) / 127.5 - 1


def _range(values: np.ndarray) -> tuple[float | None, float | None]:
    return (float(values.min()), float(values.max())) if len(values) else (None, None)


def _empty_image(digit_set: DigitSet, scenes: list[Image.Image], number: int) -> Image.Image:
    rng = default_rng((SEED, number, int(digit_set.indices[0])))
    if number % 3 == 0:
        return draw_photo(np.zeros((8, 8), np.float32), number % 2, rng)
    if number % 3 == 1:
        cells = rng.permutation(rng.choice(digit_set.digits).ravel())
        return draw_photo(cells.reshape(8, 8), number % 2, rng)
    scene = scenes[rng.integers(len(scenes))]
    side = int(rng.integers(SIDE, min(scene.size)))
    x, y = (int(rng.integers(room - side + 1)) for room in scene.size)
    return scene.crop((x, y, x + side, y + side))


def _training_data(digit_set: DigitSet) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs and the targets for the training.

    The inputs are a float32 array (n, 32, 32, 3) with values from -1 to 1. The targets are an array (n, 20).
    For an image without a digit, the target score is 1/20 for every class.
    """
    images, outputs = draw_all(digit_set, draw_photo, copies=COPIES)
    even = np.full((EMPTY_IMAGES, len(NAMES)), 1 / len(NAMES))
    inputs = _preprocess(np.concatenate([images, empty_images(digit_set, EMPTY_IMAGES)]))
    return inputs, np.concatenate([np.eye(len(NAMES))[outputs], even]).astype(np.float32)


if __name__ == "__main__":
    main()
