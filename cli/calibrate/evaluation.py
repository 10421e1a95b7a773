"""How good the answers are: figures for the report, each with how sure one can be of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli.calibrate.choose_thresholds import Goal, Row, choose, wilson
from cli.calibrate.scoring import Answers

BINS = 15
"""Bins of the reliability diagram and of its error, as in Guo et al. 2017."""

SEED = 0
"""Images are dealt to folds by it, so that equal runs give equal figures."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """Answers and whether each is accepted, by thresholds that were chosen without it."""

    answers: Answers
    accepted: Mask


def hold_out(answers: Answers, classes: Sequence[str], goal: Goal, share: float) -> tuple[list[Row], Judged]:
    """Choose thresholds by a part of each class's images, and judge them on the others."""
    held = _dealt(answers.truth, lambda count: (np.arange(count) + 0.5) / count < share)
    rows = choose(answers.part(~held), classes, goal)
    rest = answers.part(held)
    return rows, Judged(rest, _accepted(rest, rows, goal))


def cross_validate(
    answers: Answers, classes: Sequence[str], goal: Goal, folds: int
) -> tuple[list[Row], Judged]:
    """Choose thresholds by all images; judge on each fold those that are chosen by the other folds."""
    fold = _dealt(answers.truth, lambda count: np.arange(count) % folds)
    accepted = np.zeros(len(answers), bool)
    for number in range(folds):
        tested = fold == number
        rows = choose(answers.part(~tested), classes, goal)
        accepted[tested] = _accepted(answers.part(tested), rows, goal)
    return choose(answers, classes, goal), Judged(answers, accepted)


def metrics(answers: Answers, judged: Judged, rows: Sequence[Row], goal: Goal) -> dict[str, Any]:
    """All figures of the report, as JSON has them."""
    top5 = (answers.best == answers.truth[:, None]).any(axis=1)
    tops = answers.scores[:, 0].astype(np.float64)
    bins = reliability(tops, answers.right)
    right, accepted = judged.answers.right, judged.accepted
    return {
        "images": len(answers),
        "top1": share(answers.right),
        "top5": share(top5),
        "calibration_error": calibration_error(bins),
        "bins": bins,
        "judged": len(judged.answers),
        "accepted": share(accepted),
        "precision": share(right[accepted]),
        "found": share(right & accepted),
        "without_thresholds": {
            "accepted": share(tops > goal.minimum),
            "precision": share(answers.right[tops > goal.minimum]),
        },
        "classes": [_of_class(index, row, answers, judged, goal) for index, row in enumerate(rows)],
        "confused": _confused(answers, rows),
    }


def share(these: Mask) -> dict[str, Any]:
    """How many are so, of how many, and the 95 % interval of the share; `value` is None of none."""
    count, of = int(these.sum()), len(these)
    low, high = wilson(count, of)
    return {"value": count / of if of else None, "low": low, "high": high, "count": count, "of": of}


def reliability(scores: NDArray[np.float64], right: Mask) -> list[dict[str, Any]]:
    """For each bin of scores, what the scores promise (their mean) and what the answers keep."""
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    found = []
    for number in range(BINS):
        here = place == number
        mean = float(scores[here].mean()) if here.any() else None
        found.append({"from": number / BINS, "to": (number + 1) / BINS, "score": mean, **share(right[here])})
    return found


def calibration_error(bins: Sequence[dict[str, Any]]) -> float:
    """The expected calibration error: the mean distance between score and accuracy, weighted by images."""
    total = sum(each["of"] for each in bins)
    distances = (each["of"] * abs(each["value"] - each["score"]) for each in bins if each["of"])
    return float(sum(distances) / total) if total else 0.0


def trade_off(answers: Answers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """With one threshold for all: the share of images that are answered, and the precision of these."""
    order = np.argsort(-answers.scores[:, 0], kind="stable")
    count = np.arange(1, len(answers) + 1)
    # Of equal scores, a threshold accepts all or none.
    top = answers.scores[order, 0]
    last = np.append(top[1:] != top[:-1], True)
    return (count / len(answers))[last], (np.cumsum(answers.right[order]) / count)[last]


def _of_class(index: int, row: Row, answers: Answers, judged: Judged, goal: Goal) -> dict[str, Any]:
    own, answered = answers.truth == index, judged.answers.best[:, 0] == index
    right = judged.answers.right
    tested = judged.answers.truth == index
    return {
        "class": row.name,
        "images": int(own.sum()),
        "right": share(answers.right[own]),
        "threshold": max(row.value, goal.minimum),
        "basis": row.basis,
        "answers": int(answered.sum()),
        "precision": share(right[answered & judged.accepted]),
        "recall": share((right & judged.accepted)[tested]),
    }


def _confused(answers: Answers, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The pairs of classes that are taken for each other, the commonest first."""
    wrong = ~answers.right
    pairs = Counter(zip(answers.truth[wrong].tolist(), answers.best[wrong, 0].tolist(), strict=True))
    return [
        {"class": rows[truth].name, "answer": rows[answer].name, "images": count}
        for (truth, answer), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    ]


def _accepted(answers: Answers, rows: Sequence[Row], goal: Goal) -> Mask:
    """As the service decides it: the score exceeds the class's threshold and the minimum."""
    limits = np.array([max(row.value, goal.minimum) for row in rows])
    return np.asarray(answers.scores[:, 0].astype(np.float64) > limits[answers.best[:, 0]])


def _dealt(truth: NDArray[np.intp], deal: Callable[[int], NDArray[Any]]) -> NDArray[Any]:
    """Deal each class's images by themselves, shuffled; `deal` says where the first, second, … goes."""
    random = np.random.default_rng(SEED)
    dealt = np.zeros(len(truth), deal(1).dtype)
    for index in np.unique(truth):
        mine = random.permutation(np.flatnonzero(truth == index))
        dealt[mine] = deal(len(mine))
    return dealt
