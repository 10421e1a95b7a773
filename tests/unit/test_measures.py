"""The report's metrics, compared with scikit-learn's."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import top_k_accuracy_score

from cli.calibrate.charts import _most_confused
from cli.calibrate.choose_thresholds import Goal
from cli.calibrate.evaluation import (
    BINS,
    calibration_error,
    cross_validate,
    hold_out,
    metrics,
    precision_by_coverage,
    reliability_bins,
    share,
)
from cli.calibrate.scoring import Answers

CLASSES = tuple("abcdefg")


def model(count: int = 700, seed: int = 0) -> tuple[Answers, np.ndarray]:
    """Answers of a well calibrated model, and all its scores."""
    random = np.random.default_rng(seed)
    scores = random.dirichlet([0.15] * len(CLASSES), count).astype(np.float32)
    truth = np.array([random.choice(len(CLASSES), p=row / row.sum()) for row in scores.astype(float)])
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    return Answers(truth, best, np.take_along_axis(scores, best, 1)), scores


def test_accuracies_are_those_of_scikit_learn() -> None:
    answers, scores = model()
    rows, evaluation = cross_validate(answers, CLASSES, Goal(), 5)
    found = metrics(answers, evaluation, rows, Goal())
    for name, k in (("top1", 1), ("top5", 5)):
        wanted = top_k_accuracy_score(answers.truth, scores, k=k, labels=range(len(CLASSES)))
        assert found[name]["value"] == pytest.approx(wanted)


def test_the_reliability_diagram_is_that_of_scikit_learn() -> None:
    answers, _ = model()
    tops = answers.scores[:, 0].astype(float)
    bins = [each for each in reliability_bins(tops, answers.right) if each["of"]]
    right, score = calibration_curve(answers.right, tops, n_bins=BINS)
    assert [each["value"] for each in bins] == pytest.approx(right)
    assert [each["score"] for each in bins] == pytest.approx(score)


def test_the_calibration_error_is_the_mean_distance() -> None:
    # Four answers of .9, half of them right; one of .3, which is right.
    bins = reliability_bins(np.array([0.9] * 4 + [0.3]), np.array([True, True, False, False, True]))
    assert calibration_error(bins) == pytest.approx((4 * 0.4 + 0.7) / 5)
    assert reliability_bins(np.array([0.0, 1.0]), np.array([True, True]))[-1]["of"] == 1


def test_thresholds_are_evaluated_on_images_that_did_not_choose_them() -> None:
    # All answers are right, so each class's lowest one is accepted by the file, but not by thresholds that
    # were chosen without it.
    truth = np.repeat([0, 1], 30)
    tops = np.tile(np.linspace(0.6, 0.99, 30), 2).astype(np.float32)
    answers = Answers(truth, np.stack([truth, 1 - truth], 1), np.stack([tops, 1 - tops], 1))
    rows, evaluation = cross_validate(answers, CLASSES[:2], Goal(), 5)
    own = np.array([row.value for row in rows])[truth]
    assert (tops > own).all()
    assert set(np.flatnonzero(~evaluation.accepted)) == {0, 30}


def test_equal_runs_give_equal_metrics() -> None:
    answers, _ = model()
    first, second = (cross_validate(answers, CLASSES, Goal(0.8), 5) for _ in range(2))
    assert first[0] == second[0]
    assert (first[1].accepted == second[1].accepted).all()


def test_of_each_class_a_share_is_held_out() -> None:
    answers, _ = model()
    _, evaluation = hold_out(answers, CLASSES, Goal(), 0.2)
    whole, held = (np.bincount(each.truth, minlength=7) for each in (answers, evaluation.answers))
    assert (np.abs(held - 0.2 * whole) <= 0.5).all()


def test_held_out_images_do_not_choose() -> None:
    answers, _ = model()
    rows, evaluation = hold_out(answers, CLASSES, Goal(0.8), 0.3)
    flipped = Answers(answers.truth.copy(), answers.best, answers.scores)
    held = {tuple(row) for row in evaluation.answers.scores.tolist()}
    mine = np.array([tuple(row) in held for row in answers.scores.tolist()])
    flipped.scores[mine] = answers.scores[mine] * np.float32(0.999)
    assert hold_out(flipped, CLASSES, Goal(0.8), 0.3)[0] == rows


def test_metrics_of_a_class_add_up() -> None:
    answers, _ = model()
    rows, evaluation = cross_validate(answers, CLASSES, Goal(0.8), 5)
    found = metrics(answers, evaluation, rows, Goal(0.8))
    assert sum(each["images"] for each in found["classes"]) == found["images"] == 700
    assert sum(each["precision"]["of"] for each in found["classes"]) == found["accepted"]["count"]
    assert sum(each["recall"]["count"] for each in found["classes"]) == found["found"]["count"]
    assert sum(each["images"] for each in found["confused"]) == 700 - found["top1"]["count"]
    assert found["precision"]["value"] > found["top1"]["value"]


def test_one_threshold_for_all_trades_answers_for_precision() -> None:
    right = np.array([True, True, False, True])
    best = np.where(right, 0, 1)[:, None].repeat(2, 1)
    scores = np.array([0.9, 0.8, 0.8, 0.5], np.float32)[:, None].repeat(2, 1)
    shares, precisions = precision_by_coverage(Answers(np.zeros(4, int), best, scores))
    assert shares.tolist() == [0.25, 0.75, 1.0]  # of the two equal scores, both or none
    assert precisions.tolist() == pytest.approx([1, 2 / 3, 3 / 4])


def test_a_share_of_none_has_no_value() -> None:
    assert share(np.zeros(0, bool)) == {"value": None, "low": 0.0, "high": 1.0, "count": 0, "of": 0}


def test_of_more_than_40_classes_those_that_are_confused_most_are_drawn() -> None:
    """Class 7 is taken for 33 twice, 12 for 40 once; the rest is right: of those the first are shown."""
    truth = np.array([*range(41), 7, 7, 12])
    first = np.array([*range(41), 33, 33, 40])
    answers = Answers(truth, np.stack([first, (first + 1) % 41], 1), np.full((44, 2), 0.5, np.float32))
    drawn = _most_confused(answers, 41)
    assert len(drawn) == 40 and {7, 12, 33, 40} <= set(drawn) and drawn == sorted(drawn)
    assert 39 not in drawn  # the last of those that nothing is taken for
    assert _most_confused(answers, 40) == list(range(40))
