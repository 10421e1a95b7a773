"""The short form of `make fuzz`: each parser, by the number of cases in its row of the table."""

import importlib
from pathlib import Path

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.case import bounded
from tests.fuzz.targets import TARGETS, Target

FOUND = Path(__file__).parent / "found"
"""Inputs that broke a parser once; each is named TARGET-WHAT."""


@pytest.mark.parametrize("path", sorted(FOUND.iterdir()), ids=lambda each: each.name)
def test_what_was_found_stays_mended(path: Path) -> None:
    harness = importlib.import_module(f"tests.fuzz.targets.{path.name.partition('-')[0]}")
    bounded(harness.run)(path.read_bytes())


def test_the_table_has_a_hundred_thousand_cases_and_every_harness() -> None:
    harnesses = {path.stem for path in Path(__file__).parent.joinpath("targets").glob("*.py")}
    assert sum(each.cases for each in TARGETS) >= 100_000
    assert sum(each.share for each in TARGETS) == pytest.approx(1)
    assert {each.name for each in TARGETS} == harnesses - {"__init__", "files", "images"}


@pytest.mark.parametrize("target", TARGETS, ids=lambda each: each.name)
def test_nothing_breaks_a_parser(target: Target, tmp_path: Path) -> None:
    outcome = fuzz(target, target.cases, 1, tmp_path)
    assert not outcome.fault
    assert outcome.cases >= target.cases
