"""The service answers the recorded requests as it did when `python -m tests.recorded` recorded them."""

import json
from difflib import unified_diff
from typing import Any

import pytest

from tests.recorded.answers import FILE, collect, lines

RECORDED = json.loads(FILE.read_text())


@pytest.fixture(scope="module")
def present() -> dict[str, Any]:
    return collect()


def test_the_same_requests_are_sent(present: dict[str, Any]) -> None:
    assert len(RECORDED) >= 60
    assert list(present) == list(RECORDED), "run python -m tests.recorded on the code to compare with"


@pytest.mark.parametrize("name", RECORDED)
def test_the_answer_is_the_same(present: dict[str, Any], name: str) -> None:
    before, now = lines(RECORDED[name]), lines(_with_scores_of(RECORDED[name], present[name]))
    different = list(unified_diff(before, now, "recorded", "present", lineterm="", n=0))
    assert not different, "\n".join([name, *different])


def _with_scores_of(recorded: Any, answer: Any) -> Any:
    """Return the answer with the recorded scores where they differ by at most 1e-4.

    Processors add in different orders, so scores differ in their last digits from machine to machine.
    """
    if isinstance(recorded, dict) and isinstance(answer, dict):
        return {name: _with_scores_of(recorded.get(name), each) for name, each in answer.items()}
    if isinstance(recorded, list) and isinstance(answer, list) and len(recorded) == len(answer):
        return [_with_scores_of(*pair) for pair in zip(recorded, answer, strict=True)]
    if isinstance(recorded, float) and isinstance(answer, float) and abs(recorded - answer) <= 1e-4:
        return recorded
    return answer
