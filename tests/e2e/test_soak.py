"""Runs the short form of `make soak`."""

import pytest

from tests.soak import soak


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_two_minutes_at_120_percent_of_capacity() -> None:
    report = soak(120)
    assert not report.faults(), str(report)
