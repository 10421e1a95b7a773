"""Computes the accuracy metrics of the report. Each metric has a 95 % confidence interval."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli.calibrate.choose_thresholds import Goal, Row, choose, wilson
from cli.calibrate.scoring import Answers

BINS = 15
"""Number of score ranges in the reliability diagram and in the calibration error.

Guo et al. (2017) use the same number.
"""

SEED = 0
"""Random seed for assigning images to folds. With this fixed seed, each run gives the same metrics."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Evaluation:
    """The answers to test images, and whether the thresholds accept each answer.

    The thresholds for a test image were chosen from other images.
    """

    answers: Answers
    accepted: Mask


def hold_out(
    answers: Answers, classes: Sequence[str], goal: Goal, share: float
) -> tuple[list[Row], Evaluation]:
    """Choose thresholds from some of the images; evaluate the thresholds on the others.

    `share` is the fraction of each class's images on which the thresholds are evaluated.
    """
    held = _assign(answers.truth, lambda count: (np.arange(count) + 0.5) / count < share)
    rows = choose(answers.part(~held), classes, goal)
    rest = answers.part(held)
    return rows, Evaluation(rest, _accepted(rest, rows, goal))


def cross_validate(
    answers: Answers, classes: Sequence[str], goal: Goal, folds: int
) -> tuple[list[Row], Evaluation]:
    """Choose thresholds from all images; evaluate them by cross-validation.

    The answers of each fold are evaluated with thresholds that were chosen from the other folds.
    """
    fold = _assign(answers.truth, lambda count: np.arange(count) % folds)
    accepted = np.zeros(len(answers), bool)
    for number in range(folds):
        tested = fold == number
        rows = choose(answers.part(~tested), classes, goal)
        accepted[tested] = _accepted(answers.part(tested), rows, goal)
    return choose(answers, classes, goal), Evaluation(answers, accepted)


def metrics(answers: Answers, evaluation: Evaluation, rows: Sequence[Row], goal: Goal) -> dict[str, Any]:
    """Return all metrics of the report, in the format of the JSON output."""
    top5 = (answers.best == answers.truth[:, None]).any(axis=1)
    tops = answers.scores[:, 0].astype(np.float64)
    bins = reliability_bins(tops, answers.right)
    right, accepted = evaluation.answers.right, evaluation.accepted
    return {
        "images": len(answers),
        "top1": share(answers.right),
        "top5": share(top5),
        "calibration_error": calibration_error(bins),
        "bins": bins,
        "judged": len(evaluation.answers),
        "accepted": share(accepted),
        "precision": share(right[accepted]),
        "found": share(right & accepted),
        "without_thresholds": {
            "accepted": share(tops > goal.minimum),
            "precision": share(answers.right[tops > goal.minimum]),
        },
        "classes": [_of_class(index, row, answers, evaluation, goal) for index, row in enumerate(rows)],
        "confused": _confusions(answers, rows),
    }


def share(mask: Mask) -> dict[str, Any]:
    """Return the share of true values in `mask`, and its 95 % confidence interval.

    If `mask` is empty, `value` is None.
    """
    count, of = int(mask.sum()), len(mask)
    low, high = wilson(count, of)
    return {"value": count / of if of else None, "low": low, "high": high, "count": count, "of": of}


def reliability_bins(scores: NDArray[np.float64], right: Mask) -> list[dict[str, Any]]:
    """Return the mean score and the share of correct answers for each range of scores."""
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    bins = []
    for number in range(BINS):
        here = place == number
        mean = float(scores[here].mean()) if here.any() else None
        bins.append({"from": number / BINS, "to": (number + 1) / BINS, "score": mean, **share(right[here])})
    return bins


def calibration_error(bins: Sequence[dict[str, Any]]) -> float:
    """Return the expected calibration error.

    This is the mean of |score - accuracy| over the ranges of scores, weighted by the number of images.
    """
    total = sum(each["of"] for each in bins)
    distances = (each["of"] * abs(each["value"] - each["score"]) for each in bins if each["of"])
    return float(sum(distances) / total) if total else 0.0


def precision_by_coverage(answers: Answers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share and the precision of the accepted answers, for each threshold.

    All classes have the same threshold.
    """
    order = np.argsort(-answers.scores[:, 0], kind="stable")
    count = np.arange(1, len(answers) + 1)
    # A threshold accepts either all or none of the answers with equal scores.
    top = answers.scores[order, 0]
    last = np.append(top[1:] != top[:-1], True)
    return (count / len(answers))[last], (np.cumsum(answers.right[order]) / count)[last]


def _of_class(index: int, row: Row, answers: Answers, evaluation: Evaluation, goal: Goal) -> dict[str, Any]:
    own, answered = answers.truth == index, evaluation.answers.best[:, 0] == index
    right = evaluation.answers.right
    tested = evaluation.answers.truth == index
    return {
        "class": row.name,
        "images": int(own.sum()),
        "right": share(answers.right[own]),
        "threshold": max(row.value, goal.minimum),
        "basis": row.basis,
        "answers": int(answered.sum()),
        "precision": share(right[answered & evaluation.accepted]),
        "recall": share((right & evaluation.accepted)[tested]),
    }


def _confusions(answers: Answers, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the pairs of a true class and a wrong answer. The most frequent pair comes first."""
    wrong = ~answers.right
    pairs = Counter(zip(answers.truth[wrong].tolist(), answers.best[wrong, 0].tolist(), strict=True))
    return [
        {"class": rows[truth].name, "answer": rows[answer].name, "images": count}
        for (truth, answer), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    ]


def _accepted(answers: Answers, rows: Sequence[Row], goal: Goal) -> Mask:
    """Return whether each answer's score exceeds its class's threshold and the minimum threshold."""
    limits = np.array([max(row.value, goal.minimum) for row in rows])
    return np.asarray(answers.scores[:, 0].astype(np.float64) > limits[answers.best[:, 0]])


def _assign(truth: NDArray[np.intp], parts: Callable[[int], NDArray[Any]]) -> NDArray[Any]:
    """Assign each class's images at random to folds or to the hold-out images.

    `parts` is a function. `parts(n)` returns the assignments of n images.
    """
    random = np.random.default_rng(SEED)
    assigned = np.zeros(len(truth), parts(1).dtype)
    for index in np.unique(truth):
        images = random.permutation(np.flatnonzero(truth == index))
        assigned[images] = parts(len(images))
    return assigned
