"""Decisions for whole batches: the same JSON texts as those of `plain_result`, which decides row by row."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared.job import Options, Region
from worker.decide import Decider, best_of, consolidate


def plain_best(row: np.ndarray, count: int) -> list[int]:
    count = min(count, len(row))
    lowest = np.partition(row, -count)[-count]
    candidates = np.flatnonzero(row >= lowest)
    best: list[int] = candidates[np.argsort(-row[candidates], kind="stable")][:count].tolist()
    return best


def plain_result(rules: Decider, scores: np.ndarray, job: Options) -> dict[str, Any]:
    def threshold(name: str) -> float:
        return max(rules.thresholds.get(name, rules.minimum), rules.minimum)

    def prediction(name: str, score: float) -> dict[str, Any]:
        limit = threshold(name)
        values = (name, round(score, 6), score > limit, round(limit, 6))
        return dict(zip(("class", "score", "accepted", "threshold"), values, strict=True))

    regions = [list(each) for each in job.regions or ()] or [None]
    answers = [
        {
            "region": r,
            "predictions": [prediction(rules.classes[i], float(row[i])) for i in plain_best(row, job.top_n)],
        }
        for r, row in zip(regions, scores, strict=True)
    ]
    if not job.consolidate:
        return {"regions": answers}
    best = [(rules.classes[i], float(row[i])) for row, i in zip(scores, scores.argmax(1), strict=True)]
    accepted = [(name, score) for name, score in best if score > threshold(name)]
    return {"regions": answers, "consolidated": consolidate(accepted)}


NAMES = st.text(st.sampled_from('añ"\\\n \u2028x😀/'), min_size=1, max_size=8)
FEW = st.sampled_from([0.0, -0.0, 0.25, 0.5, 1 / 128, 3 / 128])  # Equal scores, and ties of the rounding.
SCORES = FEW | st.floats(0, 1, width=32) | st.floats(-(2.0**127), 2.0**127, width=32)


@st.composite
def jobs(draw: st.DrawFn) -> Options:
    sides = draw(st.lists(st.integers(1, 999), max_size=3))
    regions = tuple(Region(side, side + 1, side + 2) for side in sides) or None
    return Options(regions, draw(st.integers(1, 12) | st.just(10**30)), draw(st.booleans()))


@st.composite
def batches(draw: st.DrawFn) -> tuple[Decider, np.ndarray, list[Options]]:
    classes = tuple(draw(st.lists(NAMES, min_size=1, max_size=9)))
    limits = st.dictionaries(st.sampled_from(classes), st.floats(-1, 2) | st.integers(-1, 1))
    rules = Decider(classes, draw(limits), draw(st.floats(0, 1) | st.just(0)))
    batch = draw(st.lists(jobs(), min_size=1, max_size=4))
    shape = (sum(each.inputs for each in batch), len(classes))
    return rules, draw(hnp.arrays(np.float32, shape, elements=SCORES)), batch


@given(batches())
def test_a_batch_has_the_texts_of_its_jobs_decided_row_by_row(
    case: tuple[Decider, np.ndarray, list[Options]],
) -> None:
    rules, scores, batch = case
    rows = np.split(scores, np.cumsum([each.inputs for each in batch])[:-1])
    wanted = [plain_result(rules, part, each) for part, each in zip(rows, batch, strict=True)]
    texts = [json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in wanted]
    assert rules.decide_batch(scores, batch) == texts


@given(
    hnp.arrays(
        np.float32, st.tuples(st.integers(1, 5), st.integers(1, 60)), elements=FEW | st.floats(0, 1, width=32)
    ),
    st.data(),
)
def test_each_input_has_its_own_number_of_best_classes(scores: np.ndarray, data: st.DataObject) -> None:
    counts = [data.draw(st.integers(1, scores.shape[1])) for _ in scores]
    rows, best = best_of(scores, np.array(counts))
    found = [best[rows == number].tolist() for number in range(len(scores))]
    assert found == [plain_best(row, count) for row, count in zip(scores, counts, strict=True)]
    assert rows.tolist() == sorted(rows.tolist())


@pytest.mark.parametrize("bits", [7, 14, 24])
def test_scores_are_rounded_as_python_rounds(bits: int) -> None:
    # A score k / 2**7 has seven decimals, and the last decimal is 5 or 0, so many scores are ties.
    numbers = np.random.default_rng(bits).integers(0, 2**bits, 20_000)
    scores = (numbers / 2**bits).astype(np.float32)[:, None]
    results = map(json.loads, Decider(("x",), {}, 0.5).decide_batch(scores, [Options()] * len(scores)))
    found = [each["regions"][0]["predictions"][0]["score"] for each in results]
    assert found == [round(float(score), 6) for (score,) in scores]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_batch_with_a_score_that_is_not_finite_is_refused(bad: float) -> None:
    scores = np.array([[0.5, 0.5], [0.5, bad]], np.float32)
    with pytest.raises(ValueError, match="expected finite numbers"):
        Decider(("x", "y"), {}, 0.5).decide_batch(scores, [Options(), Options()])
