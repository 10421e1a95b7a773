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
            ValueError: a score is not a number.
        """
        if not np.isfinite(scores).all():
            raise ValueError("the model gave a score that is not a number")
        asked: list[list[int] | None] = [list(each) for each in options.regions or ()] or [None]
        answers = [self._predictions(row, options.top_n) for row in scores]
        regions = [{"region": r, "predictions": p} for r, p in zip(asked, answers, strict=True)]
        if not options.consolidate:
            return {"regions": regions}
        tops = [(best[0]["class"], best[0]["score"]) for best in answers if best[0]["accepted"]]
        return {"regions": regions, "consolidated": consolidate(tops)}

    def _predictions(self, row: NDArray[np.float32], top_n: int) -> list[dict[str, Any]]:
        """The best `top_n` classes of one input; of equal scores the earlier class comes first."""
        order = np.argsort(-row, kind="stable")[:top_n]
        return [self._prediction(self.classes[i], float(row[i])) for i in order]

    def _prediction(self, name: str, score: float) -> dict[str, Any]:
        threshold = max(self.thresholds.get(name, self.minimum), self.minimum)
        return {
            "class": name,
            "score": round(score, 6),
            "accepted": score > threshold,
            "threshold": round(threshold, 6),
        }


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
