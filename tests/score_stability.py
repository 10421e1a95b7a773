"""Scores of crops of the demo's photos alone, in batches and next to other images.

`python -m tests.score_stability` repeats the test with InceptionV3 of random weights and 10,000 answers.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

import demo
from shared.settings import Settings
from tests.models import Maker
from worker.engine import Engine

Run = Callable[[np.ndarray], np.ndarray]


def crops(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Return crops of the demo's photos, uint8 [count, height, width, channels], the same in each call."""
    random, (height, width, _) = np.random.default_rng(0), shape
    photos = [Image.open(path).convert("RGB") for path in sorted(demo.SAMPLES.rglob("*.[jp][pn]g"))]
    made = []
    for index in range(count):
        photo = photos[index % len(photos)]
        side = int(random.uniform(0.3, 1) * min(photo.size))
        left, top = (int(random.integers(0, length - side + 1)) for length in photo.size)
        made.append(np.asarray(photo.resize((width, height), box=(left, top, left + side, top + side))))
    return np.array(made)


def thresholds(scores: np.ndarray) -> np.ndarray:
    """Return a threshold for each class as `calibrate` writes it: a quantile with four decimals."""
    return np.round(np.quantile(scores, 0.9, axis=0), 4)


def instability(run: Run, pixels: np.ndarray, limits: np.ndarray | None = None) -> tuple[float, int]:
    """Return the largest difference of scores alone and in batches, and the number of changed answers."""
    alone = np.concatenate([run(each[None]) for each in pixels])
    limits = thresholds(alone) if limits is None else limits
    largest, changed, random = 0.0, 0, np.random.default_rng(1)
    for size in (2, 3, 7, 8, 13, 32):
        order = random.permutation(len(pixels))  # Each size has other neighbours.
        found = np.empty_like(alone)
        for at in range(0, len(order), size):
            chosen = order[at : at + size]
            found[chosen] = run(pixels[chosen])
        largest = max(largest, float(np.abs(found - alone).max()))
        changed += int(((found > limits) != (alone > limits)).any(axis=1).sum())
    return largest, changed


def main() -> None:
    """Print the result for InceptionV3 with random weights."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1667  # In six batch sizes: 10,002 answers.
    with TemporaryDirectory() as folder:
        maker = Maker("keras")
        path = maker.make("inception", Path(folder, "model.h5"))
        maker.close()
        engine = Engine.build(dataclasses.replace(Settings(), model=path))
        largest, changed = instability(engine.run, crops(count, engine.graph.shape))
    print(f"{6 * count} answers: scores differ by at most {largest:.3g}, {changed} changed sides")


if __name__ == "__main__":
    main()
