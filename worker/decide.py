"""Stage four: scores become answers. Pure rules; docs/decisions.md says where they come from."""

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
    """The classes in the order of the model's outputs, and what a score must exceed to count.

    `thresholds` need not name every class: for the others only `minimum` applies.
    """

    classes: tuple[str, ...]
    thresholds: Mapping[str, float]
    minimum: float

    def decide(self, scores: NDArray[np.float32], options: Options) -> dict[str, Any]:
        """The result of a job from its scores, float32 [inputs, classes].

        Raises:
            ValueError: the scores are not as many as the inputs and classes, or one is not a number.
        """
        if scores.shape != (options.inputs, len(self.classes)):
            wanted = f"{options.inputs} inputs and {len(self.classes)} classes"
            raise ValueError(f"the model gave scores of shape {scores.shape} for {wanted}")
        if not np.isfinite(scores).all():
            raise ValueError("the model gave a score that is not a number")
        asked: list[list[int] | None] = [list(each) for each in options.regions or ()] or [None]
        answers = [self._predictions(row, options.top_n) for row in scores]
        regions = [{"region": r, "predictions": p} for r, p in zip(asked, answers, strict=True)]
        if not options.consolidate:
            return {"regions": regions}
        return {"regions": regions, "consolidated": consolidate(self._accepted(scores))}

    def _accepted(self, scores: NDArray[np.float32]) -> list[tuple[str, float]]:
        """The top answers that pass, not rounded: two sums may differ by less."""
        tops = [
            (self.classes[i], float(row[i])) for row, i in zip(scores, scores.argmax(axis=1), strict=True)
        ]
        return [(name, score) for name, score in tops if score > self._threshold(name)]

    def _predictions(self, row: NDArray[np.float32], top_n: int) -> list[dict[str, Any]]:
        """The best `top_n` classes of one input; of equal scores the earlier class comes first."""
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
    """The best `count` classes of one input, best first; of equal scores the earlier class comes first."""
    count = min(count, len(row))
    # Only those that can be among the best are sorted: with 10,000 classes a fiftieth of the time.
    least = np.partition(row, -count)[-count]
    candidates = np.flatnonzero(row >= least)
    return candidates[np.argsort(-row[candidates], kind="stable")][:count]


def consolidate(accepted: list[tuple[str, float]]) -> list[list[Any]]:
    """One answer for all regions: `[species, score]` pairs, best first, from the top answers that passed.

    Scores are added up by species; the first one's score becomes the mean of its own, the others' 0.
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
    """`Genus species` of `Genus species organ`; any other name is a species as a whole."""
    words = name.split()
    return " ".join(words[:2]) if len(words) == 3 else name
