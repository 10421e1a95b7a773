"""The worker's decide stage: turns the model's scores into answers.

In this module, thresholds decide which predictions are accepted. docs/decisions.md explains the rules.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.job import Options

UNKNOWN = "Especie desconocida"

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Returns the JSON text of an object, in the form of all results."""


@dataclass(frozen=True)
class Decider:
    """Turns scores into predictions.

    A prediction is accepted if its score is above the threshold of its class. `classes` has the class names
    in the order of the model's outputs. A class without an entry in `thresholds` has the threshold `minimum`.
    If a class has a lower threshold, `minimum` is used instead.
    """

    classes: tuple[str, ...]
    thresholds: Mapping[str, float]
    minimum: float

    def decide(self, scores: NDArray[np.float32], options: Options) -> dict[str, Any]:
        """Return the result of a job from its scores, float32 [inputs, classes].

        Raises:
            ValueError: the scores have an unexpected shape, or a score is not a finite number.
        """
        (text,) = self.decide_batch(scores, [options])
        result: dict[str, Any] = json.loads(text)
        return result

    def decide_batch(self, scores: NDArray[np.float32], jobs: Sequence[Options]) -> list[str]:
        """Return the result of each job as the text of a JSON object.

        `scores`, float32 [inputs, classes], has the inputs of the first job, then of the next job, and so on.

        Raises:
            ValueError: the scores have an unexpected shape, or a score is not a finite number.
        """
        self._check(scores, sum(job.inputs for job in jobs))
        counts = [min(job.top_n, len(self.classes)) for job in jobs for _ in range(job.inputs)]
        predictions = self._predictions(scores, np.array(counts))
        ranges = pairwise(accumulate((job.inputs for job in jobs), initial=0))
        return [
            self._result(job, predictions[first:last], scores[first:last])
            for job, (first, last) in zip(jobs, ranges, strict=True)
        ]

    def _check(self, scores: NDArray[np.float32], inputs: int) -> None:
        expected = (inputs, len(self.classes))
        if scores.shape != expected:
            raise ValueError(f"the model's scores: expected shape {expected}, got {scores.shape}")
        if not np.isfinite(scores).all():
            raise ValueError("the model's scores: expected finite numbers, got nan or inf")

    def _result(self, job: Options, predictions: Sequence[str], scores: NDArray[np.float32]) -> str:
        regions = [to_json(list(each)) for each in job.regions or ()] or ["null"]
        answers = [
            f'{{"region":{region},"predictions":[{each}]}}'
            for region, each in zip(regions, predictions, strict=True)
        ]
        regions_field = f'"regions":[{",".join(answers)}]'
        if not job.consolidate:
            return f"{{{regions_field}}}"
        return f'{{{regions_field},"consolidated":{to_json(consolidate(self._accepted(scores)))}}}'

    def _accepted(self, scores: NDArray[np.float32]) -> list[tuple[str, float]]:
        """Return each input's best class and its score. Inputs whose best class is not accepted are left out.

        The scores are not rounded, because two species could have equal sums after rounding.
        """
        best = [(self.classes[i], float(row[i])) for row, i in zip(scores, scores.argmax(1), strict=True)]
        return [(name, score) for name, score in best if score > self._threshold(name)]

    def _predictions(self, scores: NDArray[np.float32], counts: NDArray[np.intp]) -> list[str]:
        """Return the best predictions of each input as JSON objects, separated by commas.

        `counts`, [inputs], has the number of predictions of each input.
        """
        rows, best = best_of(scores, counts)
        values = scores[rows, best].astype(np.float64)
        accepted = values > self._limits[best]
        # `values` has float32 numbers, whose product with a million is exact in float64. Therefore this
        # rounding is the same as that of Python's `round`.
        rounded = np.rint(values * 1e6) / 1e6
        starts, ends = self._parts
        columns = best.tolist(), rounded.tolist(), accepted.tolist()
        texts = [f"{starts[i]}{score!r}{ends[yes][i]}" for i, score, yes in zip(*columns, strict=True)]
        ranges = pairwise(accumulate(counts.tolist(), initial=0))
        return [",".join(texts[first:last]) for first, last in ranges]

    @cached_property
    def _limits(self) -> NDArray[np.float64]:
        """The threshold of each class."""
        return np.array([self._threshold(name) for name in self.classes], np.float64)

    @cached_property
    def _parts(self) -> tuple[list[str], tuple[list[str], list[str]]]:
        """The JSON text of each class's prediction before its score, and after its score.

        The text after the score depends on whether the prediction is accepted: False or True.
        """
        starts = [f'{{"class":{to_json(name)},"score":' for name in self.classes]
        limits = [to_json(round(self._threshold(name), 6)) for name in self.classes]
        refused, accepted = (
            [f',"accepted":{value},"threshold":{limit}}}' for limit in limits] for value in ("false", "true")
        )
        return starts, (refused, accepted)

    def _threshold(self, name: str) -> float:
        return max(self.thresholds.get(name, self.minimum), self.minimum)


def best_of(
    scores: NDArray[np.float32], counts: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the classes with the highest scores of each input, float32 [inputs, classes], highest first.

    `counts`, [inputs], has the number of classes wanted for each input, from 1 to the number of classes. The
    two results have one element for each wanted class: the input's row and the class's index. If two classes
    have equal scores, the class with the lower index comes first.
    """
    inputs, places = np.arange(len(scores)), scores.shape[1] - counts
    # With 10,000 classes, sorting only the best classes takes 2 % of the time of sorting all classes.
    lowest = np.partition(scores, sorted(set(places.tolist())), axis=1)[inputs, places]
    rows, classes = np.divmod(np.flatnonzero(scores >= lowest[:, None]), scores.shape[1])
    classes = classes[np.lexsort((-scores[rows, classes], rows))]  # The stable sort leaves `rows` unchanged.
    # More classes than wanted remain if the lowest wanted score is the score of several classes.
    wanted = np.arange(len(rows)) - np.searchsorted(rows, inputs)[rows] < counts[rows]
    return rows[wanted], classes[wanted]


def consolidate(accepted: list[tuple[str, float]]) -> list[list[Any]]:
    """Merge the accepted classes of all regions into `[species, score]` pairs, best first.

    Species are ordered by the sum of their scores. The first species gets the mean of its scores. Every other
    species gets the score 0.
    """
    by_species: dict[str, list[float]] = defaultdict(list)
    for name, score in accepted:
        by_species[species(name)].append(score)
    if not by_species:
        return [[UNKNOWN, None]]
    ranked = sorted(by_species.items(), key=lambda item: -sum(item[1]))
    first, scores = ranked[0]
    return [[first, round(sum(scores) / len(scores), 6)], *([name, 0.0] for name, _ in ranked[1:])]


def species(name: str) -> str:
    """Shorten a class name `Genus species organ` to `Genus species`; return any other name unchanged."""
    words = name.split()
    return " ".join(words[:2]) if len(words) == 3 else name
