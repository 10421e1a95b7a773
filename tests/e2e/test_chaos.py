"""Causes each fault of `make chaos` once under load: no job is lost, settled twice or answered wrongly."""

import math
from collections.abc import Iterator

import pytest

from tests.chaos.faults import FAULTS, LEASE, Bench, MissingRequirement
from tests.chaos.load import Load
from tests.chaos.run import fault_bench, run_fault


@pytest.fixture(scope="module")
def loads() -> list[Load]:
    """Collect the loads of all faults, so that one test waits for all webhooks together."""
    return []


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with fault_bench() as running:
        yield running


@pytest.mark.parametrize("fault", FAULTS)
def test_every_accepted_job_has_its_right_answer_once(bench: Bench, loads: list[Load], fault: str) -> None:
    try:
        load, outcome, recoveries = run_fault(bench, fault, 3 if fault == "worker_killed" else 1)
    except MissingRequirement as error:
        pytest.skip(f"needs {error}")
    loads.append(load)
    assert outcome.accepted > 20
    assert (outcome.lost, outcome.duplicated, outcome.wrong) == (0, 0, 0)
    assert max(recoveries) < (LEASE + 5 if fault == "worker_killed" else math.inf)


def test_every_ended_job_was_reported_to_its_webhook(bench: Bench, loads: list[Load]) -> None:
    assert loads and not [error for load in loads for error in load.webhook_errors()]
