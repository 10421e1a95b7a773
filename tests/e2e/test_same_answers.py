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
    before, now = lines(RECORDED[name]), lines(present[name])
    different = list(unified_diff(before, now, "recorded", "present", lineterm="", n=0))
    assert not different, "\n".join([name, *different])
