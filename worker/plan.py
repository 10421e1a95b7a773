"""In which runs of the model a number of inputs is scored: sizes that were warmed up, at the least cost."""

from collections.abc import Mapping
from math import inf

Plans = dict[int, tuple[int, ...]]
"""For each number of inputs, the sizes of its runs."""


def batch_sizes(most: int) -> tuple[int, ...]:
    """The sizes that batches are padded to: powers of two and the points half-way between, up to `most`."""
    powers = [2**n for n in range(11)]
    between = [3 * 2**n for n in range(10)]
    return (*sorted(size for size in (*powers, *between) if size < most), most)


def plan_runs(costs: Mapping[int, float]) -> Plans:
    """The cheapest runs for each number of inputs up to the largest size; a run of each size costs so much.

    Padding 17 inputs to 24 may cost a heavy model more than a run of 16 and one of 1; a light one less.
    """
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for count in range(1, max(costs, default=0) + 1):
        padded = min(size for size in costs if size >= count)
        choices: list[tuple[float, tuple[int, ...]]] = [(costs[padded], (padded,))]
        for size in (each for each in costs if each < count):
            seconds, runs = best[count - size]
            # A measured time is not exact: a further run must be worth it.
            choices.append((1.03 * (costs[size] + seconds), (size, *runs)))
        best[count] = min(choices)
    return {count: tuple(sorted(runs, reverse=True)) for count, (_, runs) in best.items() if count}


def side_by_side(plans: Plans, costs: Mapping[int, float]) -> Plans:
    """The same plans with each run in two halves, where they cost next to nothing more; to be run at once.

    A run waits at each layer for its slowest core, and so for whatever else has that core just then; of two
    runs, the other goes on meanwhile.
    """

    def halved(size: int) -> tuple[int, ...]:
        half = size // 2
        return (half, half) if size == 2 * half and 2 * costs.get(half, inf) <= 1.1 * costs[size] else (size,)

    return {count: tuple(part for size in runs for part in halved(size)) for count, runs in plans.items()}
