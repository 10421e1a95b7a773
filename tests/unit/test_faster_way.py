"""The choice between two ways to run the model, with a clock that the runs themselves set."""

from collections.abc import Callable

import numpy as np
import pytest

from worker.faster_way import MAX_SECONDS, TRIALS, FasterWay

Times = Callable[[int], float]


class Ways:
    """Two ways with given durations; `ran` has the number of inputs and the way of each run."""

    def __init__(self, usual: Times, other: Times) -> None:
        self.ran: list[tuple[int, str]] = []
        self._now = 0.0
        self.run = FasterWay(self._way("usual", usual), self._way("other", other), lambda: self._now)

    def _way(self, name: str, seconds: Times) -> Callable[[np.ndarray], np.ndarray]:
        def run(inputs: np.ndarray) -> np.ndarray:
            self.ran.append((len(inputs), name))
            self._now += seconds(len(self.ran))
            return inputs * 2

        return run


ONE = np.ones((1, 2), np.float32)


@pytest.mark.parametrize(
    ("usual", "other", "wanted"),
    [
        pytest.param(0.010, 0.008, "other", id="faster"),
        pytest.param(0.008, 0.010, "usual", id="slower"),
        pytest.param(0.010, 0.0102, "other", id="equal within the tolerance"),
        pytest.param(0.010, 0.0104, "usual", id="slower than the tolerance"),
    ],
)
def test_the_faster_way_is_used_after_the_trials(usual: float, other: float, wanted: str) -> None:
    ways = Ways(lambda _: usual, lambda _: other)
    for _ in range(2 * TRIALS + 5):
        assert (ways.run(ONE) == 2).all()
    trials, later = ways.ran[: 2 * TRIALS], ways.ran[2 * TRIALS :]
    assert trials == [(1, "usual"), (1, "other")] * TRIALS and later == [(1, wanted)] * 5


def test_a_long_run_is_never_tried_in_the_other_way() -> None:
    ways = Ways(lambda _: MAX_SECONDS * 1.01, lambda _: 0.0)
    for _ in range(3 * TRIALS):
        ways.run(ONE)
    assert {way for _, way in ways.ran} == {"usual"}


def test_a_slow_first_run_does_not_prevent_the_trials() -> None:
    ways = Ways(lambda run: 1.0 if run == 1 else 0.010, lambda _: 0.008)
    for _ in range(3 * TRIALS):
        ways.run(ONE)
    assert ways.ran[-1] == (1, "other")


def test_a_slow_moment_of_the_machine_does_not_decide() -> None:
    ways = Ways(lambda _: 0.010, lambda run: 1.0 if run == 2 else 0.008)
    for _ in range(3 * TRIALS):
        ways.run(ONE)
    assert ways.ran[-1] == (1, "other")


def test_each_number_of_inputs_has_its_own_choice() -> None:
    ways = Ways(lambda _: 0.010, lambda _: 0.008)
    for _ in range(2 * TRIALS + 1):
        ways.run(ONE)
    ways.run(np.ones((2, 2), np.float32))
    assert ways.ran[-2:] == [(1, "other"), (2, "usual")]
