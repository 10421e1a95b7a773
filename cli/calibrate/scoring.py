"""The model's answers to labelled images, by the very decoding and engine that serve."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cli.calibrate.labelled_images import CalibrationError, Labelled
from shared.image_header import ImageError
from worker.decide import best_of
from worker.decode import PixelSpec, decode
from worker.engine import Engine

KEPT = 5
"""Answers that are kept of each image: what thresholds and the top-5 accuracy need, whatever the classes."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Answers:
    """Each image's right class, [n], and its best answers with their scores, [n, up to 5], best first."""

    truth: NDArray[np.intp]
    best: NDArray[np.intp]
    scores: NDArray[np.float32]

    @classmethod
    def none(cls) -> "Answers":
        """Those to no images."""
        return cls(np.zeros(0, np.intp), np.zeros((0, 2), np.intp), np.zeros((0, 2), np.float32))

    @classmethod
    def joined(cls, parts: "Sequence[Answers]") -> "Answers":
        """Those of several batches, in their order."""
        some = [each for each in parts if len(each)]
        if not some:
            return cls.none()
        columns = ((each.truth, each.best, each.scores) for each in some)
        truth, best, scores = (np.concatenate(column) for column in zip(*columns, strict=True))
        return cls(truth, best, scores)

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the best answer is the right one."""
        return np.asarray(self.best[:, 0] == self.truth)

    def part(self, rows: NDArray[np.bool_]) -> "Answers":
        """Those of some images."""
        return Answers(self.truth[rows], self.best[rows], self.scores[rows])


@dataclass(frozen=True)
class Scored:
    """The images that could be read, in the order of their answers, and why the others could not."""

    images: list[Labelled]
    answers: Answers
    unreadable: list[tuple[Path, str]]


def score(
    images: Sequence[Labelled],
    engine: Engine,
    spec: PixelSpec,
    max_bytes: int,
    step: Callable[[int], None],
) -> Scored:
    """Run the model over the images, in full batches; `step` is told how many more are done.

    While a batch is in the model, the next one is decoded; no more are held.

    Raises:
        CalibrationError: the model gives a score that is not a number.
    """
    taken: list[Labelled] = []
    unreadable: list[tuple[Path, str]] = []
    parts: list[Answers] = []
    size = engine.input_batch
    batches = [images[at : at + size] for at in range(0, len(images), size)]
    with ThreadPoolExecutor(os.cpu_count(), "decode") as pool:
        ahead = _submit(pool, batches[0], spec, max_bytes) if batches else []
        for number, batch in enumerate(batches):
            outcomes = [each.result() for each in ahead]
            ahead = _submit(pool, batches[number + 1], spec, max_bytes) if number + 1 < len(batches) else []
            pairs = list(zip(batch, outcomes, strict=True))
            read = [(image, each) for image, each in pairs if not isinstance(each, str)]
            parts.append(_run(engine, read))
            taken += [image for image, _ in read]
            unreadable += [(image.path, each) for image, each in pairs if isinstance(each, str)]
            step(len(batch))
    return Scored(taken, Answers.joined(parts), unreadable)


def _submit(
    pool: ThreadPoolExecutor, batch: Sequence[Labelled], spec: PixelSpec, max_bytes: int
) -> list[Future[Pixels | str]]:
    return [pool.submit(_read, each.path, spec, max_bytes) for each in batch]


def _read(path: Path, spec: PixelSpec, max_bytes: int) -> Pixels | str:
    """The image's pixels, or why the service would not have them."""
    try:
        if path.stat().st_size > max_bytes:
            return f"it has more than the {max_bytes} bytes of MAX_UPLOAD_BYTES"
        return decode(path.read_bytes(), None, spec)
    except OSError as error:
        return error.strerror or str(error)
    except ImageError as error:
        return str(error)


def _run(engine: Engine, read: Sequence[tuple[Labelled, Pixels]]) -> Answers:
    if not read:
        return Answers.none()
    rows = engine.run(np.concatenate([pixels for _, pixels in read]))
    if not np.isfinite(rows).all():
        at = int(np.argmin(np.isfinite(rows).all(1)))
        raise CalibrationError(f"the model gives a score that is not a number to {read[at][0].path}")
    best = np.stack([best_of(row, KEPT) for row in rows])
    truth = np.array([image.truth for image, _ in read], np.intp)
    return Answers(truth, best, np.take_along_axis(rows, best, 1))
