"""Runs the short form of `make fuzz`: for each parser, the number of cases in the table of targets."""

import importlib
from pathlib import Path

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.case import limited
from tests.fuzz.targets import TARGETS, Target

FOUND = Path(__file__).parent / "found"
"""Inputs with which a parser once failed, named TARGET-PROBLEM."""


@pytest.mark.parametrize("path", sorted(FOUND.iterdir()), ids=lambda each: each.name)
def test_a_fixed_fault_stays_fixed(path: Path) -> None:
    harness = importlib.import_module(f"tests.fuzz.targets.{path.name.partition('-')[0]}")
    limited(harness.run)(path.read_bytes())


def test_the_table_of_targets_has_a_hundred_thousand_cases_and_every_harness() -> None:
    harnesses = {path.stem for path in Path(__file__).parent.joinpath("targets").glob("*.py")}
    assert sum(each.cases for each in TARGETS) >= 100_000
    assert sum(each.share for each in TARGETS) == pytest.approx(1)
    assert {each.name for each in TARGETS} == harnesses - {"__init__", "files", "images"}


@pytest.mark.parametrize("target", TARGETS, ids=lambda each: each.name)
def test_no_input_makes_a_parser_fail(target: Target, tmp_path: Path) -> None:
    outcome = fuzz(target, target.cases, 1, tmp_path)
    assert not outcome.error
    assert outcome.cases >= target.cases
