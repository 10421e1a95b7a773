"""Runs the model on labelled images, with the service's own decoding and engine."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cli.calibrate.labelled_images import CalibrationError, LabelledImage
from shared.cores import available_cores
from shared.image_header import ImageError
from worker.decide import best_of
from worker.decode import PixelSpec, decode
from worker.engine import Engine

TOP = 5
"""Number of best answers that are stored for each image.

This number is enough for the thresholds and for the top-5 accuracy.
"""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Answers:
    """The true class of each of n images, and the image's best answers with their scores.

    The true classes have the shape [n]. The answers have the shape [n, up to 5], with the best answer first.
    """

    truth: NDArray[np.intp]
    best: NDArray[np.intp]
    scores: NDArray[np.float32]

    @classmethod
    def joined(cls, parts: "Sequence[Answers]") -> "Answers":
        """Join the answers of several batches, in the order of the batches."""
        if not parts:
            return cls(np.zeros(0, np.intp), np.zeros((0, 2), np.intp), np.zeros((0, 2), np.float32))
        columns = ((each.truth, each.best, each.scores) for each in parts)
        truth, best, scores = (np.concatenate(column) for column in zip(*columns, strict=True))
        return cls(truth, best, scores)

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def right(self) -> NDArray[np.bool_]:
        """An array [n] that shows whether each image's best answer is correct."""
        return np.asarray(self.best[:, 0] == self.truth)

    def part(self, rows: NDArray[np.bool_]) -> "Answers":
        """Return the answers to the images that the mask `rows` selects."""
        return Answers(self.truth[rows], self.best[rows], self.scores[rows])


@dataclass(frozen=True)
class ScoredImages:
    """The readable images with their answers, and the unreadable files with the reasons."""

    images: list[LabelledImage]
    answers: Answers
    unreadable: list[tuple[Path, str]]


def score(
    images: Sequence[LabelledImage],
    engine: Engine,
    spec: PixelSpec,
    max_bytes: int,
    step: Callable[[int], None],
) -> ScoredImages:
    """Run the model on the images in full batches; call `step` with the size of each finished batch.

    Raises:
        CalibrationError: the model returns a score that is not a number.
    """
    kept: list[LabelledImage] = []
    unreadable: list[tuple[Path, str]] = []
    parts: list[Answers] = []
    for batch, outcomes in _decoded_batches(
        images, engine.input_batch, lambda path: read_image(path, spec, max_bytes)
    ):
        pairs = list(zip(batch, outcomes, strict=True))
        unreadable += [(image.path, each) for image, each in pairs if isinstance(each, str)]
        readable = [(image, each) for image, each in pairs if not isinstance(each, str)]
        kept += [image for image, _ in readable]
        if readable:
            parts.append(_run(engine, readable))
        step(len(batch))
    return ScoredImages(kept, Answers.joined(parts), unreadable)


def _decoded_batches(
    images: Sequence[LabelledImage], size: int, read: Callable[[Path], Pixels | str]
) -> Iterator[tuple[Sequence[LabelledImage], list[Pixels | str]]]:
    """Yield each batch of images with its pixels.

    While the caller uses a batch, threads decode the images of the next batch.
    """
    batches = [images[at : at + size] for at in range(0, len(images), size)]
    with ThreadPoolExecutor(available_cores(), "decode") as pool:
        ahead = [pool.submit(read, each.path) for each in images[:size]]
        for number, batch in enumerate(batches, 1):
            outcomes = [each.result() for each in ahead]
            ahead = [pool.submit(read, each.path) for each in images[number * size : (number + 1) * size]]
            yield batch, outcomes


def read_image(path: Path, spec: PixelSpec, max_bytes: int) -> Pixels | str:
    """Return the image's pixels. If the service would refuse the image, return the reason instead."""
    try:
        if path.stat().st_size > max_bytes:
            return f"the file has more bytes than MAX_UPLOAD_BYTES allows ({max_bytes})"
        return decode(path.read_bytes(), None, spec)
    except OSError as error:
        return error.strerror or str(error)
    except ImageError as error:
        return str(error)


def _run(engine: Engine, readable: Sequence[tuple[LabelledImage, Pixels]]) -> Answers:
    rows = engine.run(np.concatenate([pixels for _, pixels in readable]))
    if not np.isfinite(rows).all():
        path = readable[int(np.argmin(np.isfinite(rows).all(1)))][0].path
        raise CalibrationError(f"{path}: expected numbers as scores, got NaN or infinity. Check the model.")
    counts = np.full(len(rows), min(TOP, rows.shape[1]))
    best = best_of(rows, counts)[1].reshape(len(rows), -1)
    truth = np.array([image.truth for image, _ in readable], np.intp)
    return Answers(truth, best, np.take_along_axis(rows, best, 1))
