"""The worker's decide stage: turns the model's scores into answers.

In this module, thresholds decide which predictions are accepted. docs/decisions.md explains the rules.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.job import Options

UNKNOWN = "Especie desconocida"


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
        self._check(scores, options.inputs)
        regions: list[list[int] | None] = [list(each) for each in options.regions or ()] or [None]
        answers = [
            {"region": region, "predictions": self._predictions(row, options.top_n)}
            for region, row in zip(regions, scores, strict=True)
        ]
        if not options.consolidate:
            return {"regions": answers}
        return {"regions": answers, "consolidated": consolidate(self._accepted(scores))}

    def _check(self, scores: NDArray[np.float32], inputs: int) -> None:
        expected = (inputs, len(self.classes))
        if scores.shape != expected:
            raise ValueError(f"the model's scores: expected shape {expected}, got {scores.shape}")
        if not np.isfinite(scores).all():
            raise ValueError("the model's scores: expected finite numbers, got nan or inf")

    def _accepted(self, scores: NDArray[np.float32]) -> list[tuple[str, float]]:
        """Return each input's best class and its score. Inputs whose best class is not accepted are left out.

        The scores are not rounded, because two species could have equal sums after rounding.
        """
        best = [(self.classes[i], float(row[i])) for row, i in zip(scores, scores.argmax(1), strict=True)]
        return [(name, score) for name, score in best if score > self._threshold(name)]

    def _predictions(self, row: NDArray[np.float32], top_n: int) -> list[dict[str, Any]]:
        return [self._prediction(self.classes[i], float(row[i])) for i in best_of(row, top_n)]

    def _prediction(self, name: str, score: float) -> dict[str, Any]:
        threshold = self._threshold(name)
        return {
            "class": name,
            "score": round(score, 6),
            "accepted": score > threshold,
            "threshold": round(threshold, 6),
        }

    def _threshold(self, name: str) -> float:
        return max(self.thresholds.get(name, self.minimum), self.minimum)


def best_of(row: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Return the indices of the `count` highest scores of one input, highest first.

    If two classes have equal scores, the class with the lower index comes first.
    """
    count = min(count, len(row))
    # With 10,000 classes, sorting only the best classes takes 2 % of the time of sorting all classes.
    lowest = np.partition(row, -count)[-count]
    candidates = np.flatnonzero(row >= lowest)
    return candidates[np.argsort(-row[candidates], kind="stable")][:count]


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
