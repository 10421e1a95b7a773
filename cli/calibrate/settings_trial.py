"""Tries combinations of preprocessing, colour order and resize filter on images, as the service does."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, product, zip_longest
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli.calibrate.labelled_images import CalibrationError, LabelledImage
from cli.calibrate.scoring import read_image
from shared.cores import available_cores
from shared.settings import Settings
from worker.decode import PixelSpec
from worker.preprocessing import fits, preprocessor
from worker.preprocessing_guess import DISTINCT, same_effect
from worker.tf_graph import open_prepared

MAX_TRIAL_IMAGES = 200
"""Maximum number of images in one trial. The images are distributed evenly over the classes."""

MAX_ERROR_PROBABILITY = 0.05
"""Maximum probability of a difference by chance with which a choice is called sure."""

VARIABLES = {
    "preprocess": "INFERENCE_PREPROCESS",
    "input_color": "INPUT_COLOR",
    "input_resize": "INPUT_RESIZE",
}
"""The attributes of `Settings` that a trial varies, and their environment variables."""

FILTERS = ("antialias", "bilinear", "nearest")

Scores = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Choice:
    """One combination of the settings in `VARIABLES`."""

    preprocess: str
    input_color: str
    input_resize: str

    @classmethod
    def of(cls, settings: Settings) -> "Choice":
        """Return the combination that is set."""
        return cls(settings.preprocess, settings.input_color, settings.input_resize)

    def variables(self) -> dict[str, str]:
        """Return the combination as environment variables."""
        return {variable: getattr(self, name) for name, variable in VARIABLES.items()}

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.variables().items())


def choices(settings: Settings, channels: int) -> list[Choice]:
    """Return all combinations with different effects; the combination that is set is the first."""
    own = settings.preprocess
    others = [name for name in DISTINCT if fits(Settings(preprocess=name), channels)]
    names = [own, *(name for name in others if not same_effect(name, own))]
    colors = sorted(("rgb", "bgr"), key=lambda each: each != settings.input_color)[
        : 2 if channels == 3 else 1
    ]
    filters = sorted(FILTERS, key=lambda each: each != settings.input_resize)
    return [Choice(*each) for each in product(names, colors, filters)]


def try_settings(settings: Settings, images: Sequence[LabelledImage], step: Callable[[int], None]) -> "Trial":
    """Try all combinations on the images, whose maximum number is `MAX_TRIAL_IMAGES`.

    `step` is called with the number of images of each finished batch.

    Raises:
        CalibrationError: no image is readable.
        ModelError: the model is not supported.
    """
    return Trial.of(*try_choices(settings, images, step))


def try_choices(
    settings: Settings, images: Sequence[LabelledImage], step: Callable[[int], None]
) -> tuple[list[LabelledImage], dict[Choice, Scores]]:
    """Return the readable images, and their scores [n, outputs] with each combination of settings.

    Raises:
        CalibrationError: no image is readable.
        ModelError: the model is not supported.
    """
    shape, run = open_prepared(settings)
    combinations = choices(settings, shape[2])
    kept: list[LabelledImage] = []
    parts: dict[Choice, list[Scores]] = defaultdict(list)
    for at in range(0, len(images), settings.input_batch):
        batch = images[at : at + settings.input_batch]
        readable, pixels = _decoded(batch, settings, shape)
        kept += readable
        if readable:
            for choice, scores in _scores(combinations, pixels, settings, run):
                parts[choice].append(scores)
        step(len(batch))
    if not kept:
        raise CalibrationError(f"images: expected readable files, got {len(images)} unreadable files.")
    return kept, {choice: np.concatenate(each) for choice, each in parts.items()}


def _decoded(
    batch: Sequence[LabelledImage], settings: Settings, shape: tuple[int, int, int]
) -> tuple[list[LabelledImage], dict[str, NDArray[np.uint8]]]:
    """Return the readable images of a batch, and for each resize filter their pixels in the order rgb."""
    spec = replace(PixelSpec.of(shape, settings), color="rgb")

    def read(image: LabelledImage, name: str) -> NDArray[np.uint8] | str:
        return read_image(image.path, replace(spec, resize=name), settings.max_upload_bytes)

    with ThreadPoolExecutor(available_cores(), "decode") as pool:
        rows = list(pool.map(lambda image: [read(image, name) for name in FILTERS], batch))
    good = [(image, row) for image, row in zip(batch, rows, strict=True) if not isinstance(row[0], str)]
    columns = zip(FILTERS, zip(*(row for _, row in good), strict=True), strict=False)
    return [image for image, _ in good], {name: np.concatenate(each) for name, each in columns}


def _scores(
    combinations: Sequence[Choice],
    pixels: Mapping[str, NDArray[np.uint8]],
    settings: Settings,
    run: Callable[[Any], Scores],
) -> Iterator[tuple[Choice, Scores]]:
    """Yield the scores of one batch with each combination. Equal inputs are scored only once."""
    known: dict[tuple[str, bytes], Scores] = {}
    for choice in combinations:
        inputs = pixels[choice.input_resize]
        inputs = np.ascontiguousarray(inputs[..., ::-1] if choice.input_color == "bgr" else inputs)
        key = (choice.preprocess, hashlib.sha256(inputs.tobytes()).digest())
        if key not in known:
            prepare = preprocessor(replace(settings, preprocess=choice.preprocess))
            known[key] = run(np.asarray(prepare(inputs.astype(np.float32)), np.float32))
        yield choice, known[key]


def sample(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Return at most `MAX_TRIAL_IMAGES` of the images, distributed evenly over the classes.

    Every call returns the same images.
    """
    classes: dict[int, list[LabelledImage]] = defaultdict(list)
    for index in np.random.default_rng(0).permutation(len(images)):
        classes[images[index].truth].append(images[index])
    rows = chain.from_iterable(zip_longest(*classes.values()))
    return [each for each in rows if each is not None][:MAX_TRIAL_IMAGES]


@dataclass(frozen=True)
class Trial:
    """The combinations of settings, and for each of n labelled images whether the best class is correct.

    `right` has the shape [combinations, n]. `truth_scores`, float64 [combinations], is the mean score of the
    images' own classes. The first combination is the one that is set.
    """

    combinations: Sequence[Choice]
    right: Mask
    truth_scores: NDArray[np.float64]

    @classmethod
    def of(cls, images: Sequence[LabelledImage], scores: Mapping[Choice, Scores]) -> "Trial":
        """Compare the scores with the images' classes."""
        truth = np.array([image.truth for image in images])
        right = np.array([each.argmax(1) == truth for each in scores.values()])
        means = [each[np.arange(len(truth)), truth].mean(dtype=np.float64) for each in scores.values()]
        return cls(list(scores), right, np.array(means))

    @property
    def present(self) -> Choice:
        """The combination that is set."""
        return self.combinations[0]

    @property
    def best(self) -> Choice:
        """The combination with the most correct answers.

        Of several, the one closest to what is set, then the one with the highest scores of the images' own
        classes.
        """
        return self._best(self.combinations)

    def best_with(self, name: str, value: str) -> Choice:
        """Return the best combination with one value of one of the settings."""
        return self._best([each for each in self.combinations if getattr(each, name) == value])

    def _best(self, among: Sequence[Choice]) -> Choice:
        def order(choice: Choice) -> tuple[int, int, float]:
            same = sum(getattr(choice, name) == getattr(self.present, name) for name in VARIABLES)
            return self.correct(choice), same, self.truth_scores[self.combinations.index(choice)]

        return max(among, key=order)

    def values(self, name: str) -> list[str]:
        """Return the tried values of one of the settings, the best first."""
        tried = dict.fromkeys(getattr(each, name) for each in self.combinations)
        best = getattr(self.best, name)
        return sorted(tried, key=lambda each: (each != best, -self.correct(self.best_with(name, each))))

    def correct(self, choice: Choice) -> int:
        """Return the number of images whose best class is correct."""
        return int(self._row(choice).sum())

    def rival(self, name: str) -> Choice | None:
        """Return the best combination with another value of one of the settings than the best has."""
        others = self.values(name)[1:]
        return self.best_with(name, others[0]) if others else None

    def chance(self, name: str, rival: Choice | None) -> float:
        """Return how probable it is that the best combination is better than a rival only by chance.

        The rival has another value of the setting `name`. The result is the p-value of the exact two-sided
        McNemar test, multiplied by the number of other values of the setting.
        """
        if rival is None:
            return 1.0
        ours, theirs = self._row(self.best), self._row(rival)
        better, worse = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
        return min(1.0, mcnemar(better, worse) * (len(self.values(name)) - 1))

    def _row(self, choice: Choice) -> Mask:
        return np.asarray(self.right[self.combinations.index(choice)])

    def advised(self) -> dict[str, str]:
        """Return the environment variables whose best value is surely better than the value that is set."""

        def is_surely_better(name: str) -> bool:
            present = getattr(self.present, name)
            changed = getattr(self.best, name) != present
            return changed and self.chance(name, self.best_with(name, present)) < MAX_ERROR_PROBABILITY

        return {
            variable: getattr(self.best, name)
            for name, variable in VARIABLES.items()
            if is_surely_better(name)
        }

    def advice(self) -> str | None:
        """Return which settings to change, or None if no change surely gives better answers."""
        changes = " ".join(f"{name}={value}" for name, value in self.advised().items())
        return f"Set {changes}." if changes else None

    def facts(self) -> dict[str, Any]:
        """Return the results for the JSON output."""
        return {
            "images": self.right.shape[1],
            "best": self.best.variables(),
            "chance": {variable: self.chance(name, self.rival(name)) for name, variable in VARIABLES.items()},
            "advised": self.advised(),
            "tried": [
                {**each.variables(), "correct": self.correct(each)}
                for each in sorted(self.combinations, key=self.correct, reverse=True)
            ],
        }

    def lines(self) -> list[str]:
        """Return the results in words, without the advice."""
        count = self.right.shape[1]
        lines = [
            f"{len(self.combinations)} combinations of settings tried on {count} labelled images",
            f"best: {self.best}: {self._share(self.best)}",
        ]
        if self.best != self.present:
            lines.append(f"your settings: {self.present}: {self._share(self.present)}")
        return lines + [self._line(name) for name in VARIABLES if self.rival(name)]

    def _line(self, name: str) -> str:
        values = self.values(name)
        shares = ", ".join(f"{each} {self._percent(self.best_with(name, each))}" for each in values)
        return f"{VARIABLES[name]}: {shares}. {self._certainty(name)}"

    def _certainty(self, name: str) -> str:
        rival, (best, second, *_) = self.rival(name), self.values(name)
        chance = self.chance(name, rival)
        if chance < MAX_ERROR_PROBABILITY:
            size = "p < 0.001" if chance < 0.001 else f"p = {chance:.3f}"
            return f"The choice of {best} is sure ({size} against {second})."
        if rival and (self._row(rival) == self._row(self.best)).all():
            return f"These images show no difference between {best} and {second}."
        return f"The images are too few to be sure of {best} against {second} (p = {chance:.2f})."

    def _share(self, choice: Choice) -> str:
        return f"{self._percent(choice)} correct ({self.correct(choice)} of {self.right.shape[1]})"

    def _percent(self, choice: Choice) -> str:
        return f"{100 * self.correct(choice) / self.right.shape[1]:.1f} %"


def mcnemar(better: int, worse: int) -> float:
    """Return the p-value of the exact two-sided McNemar test.

    One method is right and the other wrong for `better` images, and the reverse for `worse` images.
    """
    count = better + worse
    tail = sum(comb(count, each) for each in range(min(better, worse) + 1)) / 2**count
    return float(min(1.0, 2 * tail))
