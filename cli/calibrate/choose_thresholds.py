"""Thresholds from answers to labelled images, written so that the service's formula gives them.

A row of thresholds.csv holds what a class's answers were, and the service computes from it

    t = top1_min - (1 - correct) * (top1_min - top2_max) / 2

and accepts a score above t. A threshold here is a cut between two scores that were seen: the lowest that
is to be accepted, and the highest wrong or second one below it. With these as `top1_min` and `top2_max`, t
lies between the two whatever `correct` is, so the service accepts what the cut accepts, and no more.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from math import sqrt
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cli.calibrate.scoring import Answers
from worker.thresholds_file import COLUMNS, MISSING, Threshold

Floats = NDArray[np.float64]
Counts = NDArray[np.intp]

WIDEST = 0.2
"""A precision is trusted if its 95 % interval is no wider: 16 answers, all right, or 24 with one wrong."""


SHUT = "1.0000"
"""A threshold that no score exceeds."""


@dataclass(frozen=True)
class Goal:
    """What thresholds are chosen for: a precision, of answers that are above the service's minimum.

    With a `confidence`, not the precision that was seen must reach it, but the lower bound of what may be.
    `plain` chooses nothing: the rows hold the statistics of all answers, as the original's files did.
    """

    precision: float = 0.95
    minimum: float = 0.5
    confidence: float | None = None
    plain: bool = False

    def reached(self, right: Counts, answers: Counts) -> NDArray[np.bool_]:
        """Whether so many right ones of so many answers reach the precision."""
        if self.confidence is None:
            return np.asarray(right / answers >= self.precision)
        z = NormalDist().inv_cdf(self.confidence)
        return np.asarray([wilson(k, n, z)[0] >= self.precision for k, n in zip(right, answers, strict=True)])


@dataclass(frozen=True)
class Row:
    """A class's row of thresholds.csv, its cells as text, and what it rests on.

    `basis` is 'own' (the class's own answers), 'common' (all classes' answers, as it has too few of its own),
    'shut' (no score reaches the precision: it is never accepted) or 'plain'.
    """

    name: str
    top1: tuple[str, str]
    top2: tuple[str, str]
    correct: str
    basis: str

    @property
    def value(self) -> float:
        """The score that an answer must exceed, as the service will compute it."""
        low, high, share = (
            float(cell) if cell else MISSING for cell in (self.top1[0], self.top2[1], self.correct)
        )
        return Threshold(low, high, share).value


@dataclass(frozen=True)
class _Cut:
    """The lowest score to accept, the highest wrong or second one below it, and the answers it accepts."""

    lowest: float
    below: float | None
    right: int
    answers: int

    def cells(self) -> tuple[str, str]:
        """`top1_min` and `top2_max`, with as few decimals as keep the cut between them."""
        for digits in range(4, 20):
            unit = Decimal(1).scaleb(-digits)
            # Strictly below, since an answer must exceed the threshold.
            high = Decimal(self.lowest).quantize(unit, ROUND_CEILING) - unit
            low = high if self.below is None else Decimal(self.below).quantize(unit, ROUND_CEILING)
            if low <= high:
                break
        return f"{high:f}", f"{low:f}"


@dataclass(frozen=True)
class _Seen:
    """A class's scores: when it was rightly the best, wrongly the best, and second."""

    right: Floats
    wrong: Floats
    second: Floats

    @property
    def other(self) -> Floats:
        return np.concatenate([self.wrong, self.second])


def wilson(right: float, of: float, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share, which holds for few and for extreme counts, too; 95 % by default."""
    if of == 0:
        return 0.0, 1.0
    share, square = right / of, z * z
    middle = share + square / (2 * of)
    spread = z * sqrt(share * (1 - share) / of + square / (4 * of * of))
    low, high = (middle - spread) / (1 + square / of), (middle + spread) / (1 + square / of)
    return max(low, 0.0), min(high, 1.0)


def is_too_few(right: float, of: float) -> bool:
    """Whether a precision seen on so many answers says little: its interval is wider than `WIDEST`."""
    low, high = wilson(right, of)
    return high - low > WIDEST


def choose(answers: Answers, classes: Sequence[str], goal: Goal) -> list[Row]:
    """A row for each class."""
    first, second = (answers.scores[:, place].astype(np.float64) for place in (0, 1))
    cut = _cut(_Seen(first[answers.right], first[~answers.right], second), goal)
    common = cut.cells()[0] if cut else SHUT
    rows = []
    for index, name in enumerate(classes):
        best, own = answers.best[:, 0] == index, answers.truth == index
        seen = _Seen(first[best & own], first[best & ~own], second[answers.best[:, 1] == index])
        share = f"{np.count_nonzero(best & own) / np.count_nonzero(own):.4f}" if own.any() else ""
        rows.append(_row(name, seen, share, common, goal))
    return rows


def write(rows: Sequence[Row], path: Path, *, replace: bool) -> None:
    """Write thresholds.csv.

    Raises:
        FileExistsError: it is there already, and not to be replaced.
    """
    with path.open("w" if replace else "x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([row.name, *row.top1, *row.top2, row.correct])


def _row(name: str, seen: _Seen, share: str, common: str, goal: Goal) -> Row:
    (low1, high1), (low2, high2) = _range(seen.right), _range(seen.other)
    if goal.plain:
        return Row(name, (low1, high1), (low2, high2), share, "plain")
    low1, high2, basis = _chosen(seen, common, goal)
    return Row(name, (low1, high1), (low2, high2), share, basis)


def _chosen(seen: _Seen, common: str, goal: Goal) -> tuple[str, str, str]:
    """`top1_min`, `top2_max` and what they rest on."""
    cut = _cut(seen, goal)
    right, wrong = (int((each > goal.minimum).sum()) for each in (seen.right, seen.wrong))
    if cut and not is_too_few(cut.right, cut.answers):
        return *cut.cells(), "own"
    if not cut and not is_too_few(right, right + wrong):
        return SHUT, SHUT, "shut"
    # A few answers can show that the common threshold is too low for the class, not that it is too high.
    own = cut.cells()[0] if cut else _range(seen.wrong)[1]
    value = max(common, own or common, key=float)
    return value, value, "common"


def _cut(seen: _Seen, goal: Goal) -> _Cut | None:
    """The lowest right score from which on the goal is reached; None if there is none.

    No right answer lies between it and the next wrong one below: with it, the precision would be higher.
    """
    right = np.sort(seen.right[seen.right > goal.minimum])
    every = np.sort(np.concatenate([right, seen.wrong[seen.wrong > goal.minimum]]))
    scores = np.unique(right)
    rights, answers = ((len(each) - np.searchsorted(each, scores)).astype(np.intp) for each in (right, every))
    reached = np.flatnonzero(goal.reached(rights, answers)) if len(scores) else scores
    if not len(reached):
        return None
    at = int(reached[0])
    below = seen.other[seen.other < scores[at]]
    return _Cut(
        float(scores[at]), float(below.max()) if len(below) else None, int(rights[at]), int(answers[at])
    )


def _range(scores: Floats) -> tuple[str, str]:
    """The lowest score, rounded down so that it exceeds what is written, and the highest, rounded up."""
    if not len(scores):
        return "", ""
    unit = Decimal("0.0001")
    low, high = (Decimal(float(each)).quantize(unit, ROUND_CEILING) for each in (scores.min(), scores.max()))
    return f"{max(low - unit, Decimal(0)):f}", f"{high:f}"
