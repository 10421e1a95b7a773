import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared.job import Options, Region
from worker.decide import Decider, consolidate, species
from worker.thresholds_file import Threshold

CLASSES = ("Quercus rugosa hoja", "Quercus rugosa tallo", "Quercus crassifolia hoja", "Pinus")
REGIONS = (Region(1, 2, 3), Region(4, 5, 6), Region(7, 8, 9))


def decider(minimum: float = 0.5, **thresholds: float) -> Decider:
    named = {name.replace("_", " "): value for name, value in thresholds.items()}
    return Decider(CLASSES, named, minimum)


def scores(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32)


def consolidated(rows: np.ndarray, rules: Decider | None = None) -> list[list[object]]:
    options = Options(regions=REGIONS[: len(rows)], consolidate=True)
    return (rules or decider()).decide(rows, options)["consolidated"]


def test_the_best_come_first_and_equal_ones_in_the_models_order() -> None:
    result = decider().decide(scores((0.2, 0.3, 0.2, 0.3)), Options(top_n=3))
    (region,) = result["regions"]
    assert [each["class"] for each in region["predictions"]] == [CLASSES[1], CLASSES[3], CLASSES[0]]
    assert region["region"] is None and "consolidated" not in result


def test_top_n_beyond_the_classes_gives_all() -> None:
    result = decider().decide(scores((0.1, 0.2, 0.3, 0.4)), Options(top_n=10**9))
    assert len(result["regions"][0]["predictions"]) == 4


def test_a_score_must_exceed_both_its_threshold_and_the_minimum() -> None:
    rules = decider(Quercus_rugosa_hoja=0.8, Quercus_rugosa_tallo=0.3)
    options = Options(top_n=4)
    answers = [
        rules.decide(scores((s, s, s, s)), options)["regions"][0]["predictions"] for s in (0.4, 0.5, 0.6, 0.9)
    ]
    accepted = [[each["accepted"] for each in answer] for answer in answers]
    assert accepted == [[False] * 4, [False] * 4, [False, True, True, True], [True] * 4]
    assert [each["threshold"] for each in answers[0]] == [0.8, 0.5, 0.5, 0.5]


def test_no_accepted_region_is_an_unknown_species() -> None:
    assert consolidated(scores((0.4, 0.3, 0.2, 0.1), (0.5, 0, 0, 0))) == [["Especie desconocida", None]]


def test_one_accepted_region_is_its_species_and_score() -> None:
    assert consolidated(scores((0.75, 0, 0, 0), (0.4, 0, 0, 0))) == [["Quercus rugosa", 0.75]]


def test_scores_of_several_regions_are_added_up_by_species_and_sorted_by_the_sum() -> None:
    # rugosa: 0.6 + 0.7 = 1.3; crassifolia: 0.95. The best single score is not the best sum.
    rows = scores((0.6, 0, 0.1, 0), (0, 0, 0.95, 0), (0, 0.7, 0, 0))
    assert consolidated(rows) == [["Quercus rugosa", 0.65], ["Quercus crassifolia", 0.0]]


def test_the_sort_is_not_by_name() -> None:
    rows = scores((0.6, 0, 0, 0), (0, 0, 0.9, 0))
    assert [pair[0] for pair in consolidated(rows)] == ["Quercus crassifolia", "Quercus rugosa"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Quercus rugosa hoja", "Quercus rugosa"),
        ("Pinus", "Pinus"),
        ("Pinus pinea", "Pinus pinea"),
        ("Quercus rugosa var. x hoja", "Quercus rugosa var. x hoja"),
    ],
)
def test_only_a_name_of_three_words_has_an_organ(name: str, wanted: str) -> None:
    assert species(name) == wanted


def test_sums_are_compared_before_they_are_rounded() -> None:
    almost = np.nextafter(np.float32(0.6), np.float32(1))
    rows = scores((0.6, 0, 0, 0), (0, 0, almost, 0))
    assert consolidated(rows) == [["Quercus crassifolia", 0.6], ["Quercus rugosa", 0.0]]


def test_a_score_is_compared_before_it_is_rounded() -> None:
    just_above = np.nextafter(np.float32(0.5), np.float32(1))
    (region,) = decider().decide(scores((just_above, 0, 0, 0)), Options())["regions"]
    assert (region["predictions"][0]["accepted"], region["predictions"][0]["score"]) == (True, 0.5)


def test_consolidation_uses_the_best_class_regardless_of_top_n() -> None:
    options = Options(regions=REGIONS[:1], top_n=1, consolidate=True)
    assert decider().decide(scores((0, 0.7, 0.6, 0)), options)["consolidated"] == [["Quercus rugosa", 0.7]]


@pytest.mark.parametrize("shape", [(1, 3), (1, 5), (2, 4), (4,)])
def test_scores_of_another_shape_are_a_failure_of_the_model(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        decider().decide(np.zeros(shape, np.float32), Options())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_a_failure_of_the_model(bad: float) -> None:
    with pytest.raises(ValueError, match="expected finite numbers"):
        decider().decide(scores((bad, 0, 0, 0)), Options())


def test_the_threshold_formula_is_the_originals() -> None:
    # a1 = 0.9, b2 = 0.5, p = 0.8: d = 0.4, t = 0.9 - 0.2 * 0.4 / 2 = 0.86
    assert Threshold(top1_min=0.9, top2_max=0.5, correct=0.8).value == pytest.approx(0.86)
    # missing cells are -1: t = 0.9 - (1 + 1) * (0.9 + 1) / 2 = -1
    assert Threshold(top1_min=0.9, top2_max=-1, correct=-1).value == pytest.approx(-1.0)


ROWS = hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.just(4)), elements=st.floats(0, 1, width=32))


@given(ROWS, st.integers(1, 9), st.floats(0, 1))
def test_every_answer_is_sorted_json_and_consistent(rows: np.ndarray, top_n: int, minimum: float) -> None:
    options = Options(regions=REGIONS[: len(rows)], top_n=top_n, consolidate=True)
    result = json.loads(json.dumps(decider(minimum).decide(rows, options)))
    assert [region["region"] for region in result["regions"]] == [list(each) for each in REGIONS[: len(rows)]]
    for region in result["regions"]:
        found = [each["score"] for each in region["predictions"]]
        assert found == sorted(found, reverse=True) and len(found) == min(top_n, 4)
    tops = [region["predictions"][0] for region in result["regions"]]
    named = {species(each["class"]) for each in tops if each["accepted"]}
    assert {pair[0] for pair in result["consolidated"]} == (named or {"Especie desconocida"})
    assert [pair[1] for pair in result["consolidated"][1:]] == [0.0] * (len(named) - 1 if named else 0)


FEW = st.sampled_from([0.0, 0.25, 0.5, 0.75])  # Few values make many scores equal.


@given(hnp.arrays(np.float32, st.integers(1, 60), elements=FEW), st.integers(1, 70))
def test_the_best_are_those_of_a_full_stable_sort(row: np.ndarray, top_n: int) -> None:
    names = tuple(f"class {i}" for i in range(len(row)))
    (region,) = Decider(names, {}, 0.5).decide(row[None], Options(top_n=top_n))["regions"]
    wanted = sorted(range(len(row)), key=lambda i: (-row[i], i))[:top_n]
    assert [each["class"] for each in region["predictions"]] == [names[i] for i in wanted]


def test_consolidation_of_nothing() -> None:
    assert consolidate([]) == [["Especie desconocida", None]]
