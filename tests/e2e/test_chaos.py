"""Each fault of `make chaos` once, on real processes under load: nothing is lost, doubled or wrong."""

import math
from collections.abc import Iterator

import pytest

from tests.chaos.faults import FAULTS, LEASE, Bench, Missing
from tests.chaos.load import Load
from tests.chaos.run import bench_of_faults, strike


@pytest.fixture(scope="module")
def loads() -> list[Load]:
    """What the faults were done under; all their webhooks are waited for together."""
    return []


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with bench_of_faults() as running:
        yield running


@pytest.mark.parametrize("fault", FAULTS)
def test_every_accepted_job_has_its_right_answer_once(bench: Bench, loads: list[Load], fault: str) -> None:
    try:
        load, outcome, recoveries = strike(bench, fault, 3 if fault == "worker_killed" else 1)
    except Missing as what:
        pytest.skip(f"needs {what}")
    loads.append(load)
    assert outcome.accepted > 20
    assert (outcome.lost, outcome.duplicated, outcome.wrong) == (0, 0, 0)
    assert max(recoveries) < (LEASE + 5 if fault == "worker_killed" else math.inf)


def test_every_end_was_told_to_its_webhook(bench: Bench, loads: list[Load]) -> None:
    assert loads and not [line for load in loads for line in load.told()]
