"""Chooses a threshold for each class from the model's scores for labelled images; writes thresholds.csv.

A row of thresholds.csv contains statistics of a class's answers. From the row, the service computes the
class's threshold t. The service accepts scores above t:

    t = top1_min - (1 - correct) * (top1_min - top2_max) / 2

This module writes `top1_min` and `top2_max` into the row. `top1_min` is the lowest score to accept.
`top2_max` is the highest score below `top1_min` that a wrong or second-best answer has. For each value of
`correct`, the threshold t lies between `top1_min` and `top2_max`. So the service accepts exactly the answers
that this module has chosen.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from math import sqrt
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cli.calibrate.scoring import Answers
from worker.thresholds_file import MISSING, Threshold, header

Floats = NDArray[np.float64]
Counts = NDArray[np.intp]

MAX_INTERVAL = 0.2
"""Maximum width of the 95 % confidence interval of a class's precision.

A class with a wider interval has too few answers. For example, 16 answers are enough if all are correct. If
one answer is wrong, 24 answers are enough.
"""

UNREACHABLE = "1.0000"
"""A threshold above all scores, so that the service accepts no answer."""


@dataclass(frozen=True)
class Goal:
    """The precision that the thresholds must reach.

    Only answers above the service's minimum threshold count. If `confidence` is set, the lower bound of the
    precision's confidence interval must reach `precision`. If `plain` is set, no threshold is chosen. The
    rows then contain the statistics of all answers, as in the files of the server that this project replaces.
    """

    precision: float = 0.95
    minimum: float = 0.5
    confidence: float | None = None
    plain: bool = False

    def reached(self, right: Counts, answers: Counts) -> NDArray[np.bool_]:
        """Return a bool array [n] that shows which of n precisions are high enough.

        A precision is `right` / `answers`.
        """
        if self.confidence is None:
            return np.asarray(right / answers >= self.precision)
        z = NormalDist().inv_cdf(self.confidence)
        return np.asarray([wilson(k, n, z)[0] >= self.precision for k, n in zip(right, answers, strict=True)])


@dataclass(frozen=True)
class Row:
    """A class's row of thresholds.csv, with cells as text, and the `basis` of the class's threshold.

    The `basis` has one of these values:

    - 'own': the threshold was chosen from the class's own answers.
    - 'common': the class has too few answers. The threshold was chosen from the answers of all classes.
    - 'shut': no score reaches the precision. No answer is accepted.
    - 'plain': no threshold was chosen.
    """

    name: str
    top1: tuple[str, str]
    top2: tuple[str, str]
    correct: str
    basis: str

    @property
    def value(self) -> float:
        """The class's threshold. The service will compute the same threshold from this row."""
        low, high, share = (
            float(cell) if cell else MISSING for cell in (self.top1[0], self.top2[1], self.correct)
        )
        return Threshold(low, high, share).value


@dataclass(frozen=True)
class _Chosen:
    """The `lowest` score to accept, and the counts of the accepted answers.

    `below` is the next lower score of a wrong or second-best answer. `right` is the number of correct
    accepted answers. `answers` is the number of all accepted answers.
    """

    lowest: float
    below: float | None
    right: int
    answers: int

    def cells(self) -> tuple[str, str]:
        """Return `top1_min` and `top2_max` as decimal numbers with as few decimals as possible.

        The threshold must lie between these two numbers.
        """
        for digits in range(4, 20):
            unit = Decimal(1).scaleb(-digits)
            # `top1_min` is below the lowest score, because only scores above the threshold are accepted.
            high = Decimal(self.lowest).quantize(unit, ROUND_CEILING) - unit
            low = high if self.below is None else Decimal(self.below).quantize(unit, ROUND_CEILING)
            if low <= high:
                break
        return f"{high:f}", f"{low:f}"


@dataclass(frozen=True)
class _Scores:
    """The scores of a class in three lists: correct best answers, wrong best answers, second-best answers."""

    right: Floats
    wrong: Floats
    second: Floats

    @property
    def other(self) -> Floats:
        return np.concatenate([self.wrong, self.second])


def wilson(right: float, of: float, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson confidence interval of the fraction `right` / `of`.

    The default confidence is 95 %.
    """
    if of == 0:
        return 0.0, 1.0
    share, square = right / of, z * z
    middle = share + square / (2 * of)
    spread = z * sqrt(share * (1 - share) / of + square / (4 * of * of))
    low, high = (middle - spread) / (1 + square / of), (middle + spread) / (1 + square / of)
    return max(low, 0.0), min(high, 1.0)


def is_too_few(right: float, of: float) -> bool:
    """Return whether a class has too few answers.

    This is the case if the confidence interval of the class's precision is wider than `MAX_INTERVAL`.
    """
    low, high = wilson(right, of)
    return high - low > MAX_INTERVAL


def choose(answers: Answers, classes: Sequence[str], goal: Goal) -> list[Row]:
    """Choose a threshold for each class; return a row of thresholds.csv for each class."""
    first, second = (answers.scores[:, place].astype(np.float64) for place in (0, 1))
    chosen = _lowest(_Scores(first[answers.right], first[~answers.right], second), goal)
    common = chosen.cells()[0] if chosen else UNREACHABLE
    rows = []
    for index, name in enumerate(classes):
        best, own = answers.best[:, 0] == index, answers.truth == index
        scores = _Scores(first[best & own], first[best & ~own], second[answers.best[:, 1] == index])
        share = f"{np.count_nonzero(best & own) / np.count_nonzero(own):.4f}" if own.any() else ""
        rows.append(_row(name, scores, share, common, goal))
    return rows


def write(
    rows: Sequence[Row], path: Path, *, replace: bool, provenance: Mapping[str, str] | None = None
) -> None:
    """Write thresholds.csv, with the provenance in its header.

    Raises:
        FileExistsError: the file exists, and `replace` is false.
    """
    with path.open("w" if replace else "x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header(provenance or {}))
        for row in rows:
            writer.writerow([row.name, *row.top1, *row.top2, row.correct])


def _row(name: str, scores: _Scores, share: str, common: str, goal: Goal) -> Row:
    (low1, high1), (low2, high2) = _rounded_range(scores.right), _rounded_range(scores.other)
    if goal.plain:
        return Row(name, (low1, high1), (low2, high2), share, "plain")
    low1, high2, basis = _cells(scores, common, goal)
    return Row(name, (low1, high1), (low2, high2), share, basis)


def _cells(scores: _Scores, common: str, goal: Goal) -> tuple[str, str, str]:
    """Return `top1_min` and `top2_max` of a class, and the basis of its threshold."""
    chosen = _lowest(scores, goal)
    right, wrong = (int((each > goal.minimum).sum()) for each in (scores.right, scores.wrong))
    if chosen and not is_too_few(chosen.right, chosen.answers):
        return *chosen.cells(), "own"
    if not chosen and not is_too_few(right, right + wrong):
        return UNREACHABLE, UNREACHABLE, "shut"
    # A few answers can show that the common threshold is too low for the class, but not that it is too high.
    own = chosen.cells()[0] if chosen else _rounded_range(scores.wrong)[1]
    value = max(common, own or common, key=float)
    return value, value, "common"


def _lowest(scores: _Scores, goal: Goal) -> _Chosen | None:
    """Return the lowest score to accept such that the accepted answers reach the goal.

    The function returns None if no score reaches the goal. The returned score belongs to a correct answer.
    The answer with the next lower score is wrong. A correct answer would raise the precision, and the
    function would return its score instead.
    """
    right = np.sort(scores.right[scores.right > goal.minimum])
    every = np.sort(np.concatenate([right, scores.wrong[scores.wrong > goal.minimum]]))
    tops = np.unique(right)
    rights, answers = ((len(each) - np.searchsorted(each, tops)).astype(np.intp) for each in (right, every))
    reached = np.flatnonzero(goal.reached(rights, answers)) if len(tops) else tops
    if not len(reached):
        return None
    at = int(reached[0])
    below = scores.other[scores.other < tops[at]]
    return _Chosen(
        float(tops[at]), float(below.max()) if len(below) else None, int(rights[at]), int(answers[at])
    )


def _rounded_range(scores: Floats) -> tuple[str, str]:
    """Return the lowest score, rounded down, and the highest score, rounded up, with four decimals.

    The first returned value is below the lowest score. This is necessary, because only scores above the
    threshold are accepted.
    """
    if not len(scores):
        return "", ""
    unit = Decimal("0.0001")
    low, high = (Decimal(float(each)).quantize(unit, ROUND_CEILING) for each in (scores.min(), scores.max()))
    return f"{max(low - unit, Decimal(0)):f}", f"{high:f}"
