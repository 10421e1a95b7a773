"""Chooses the size of a batch: the sizes of runs, and the cheapest runs for a number of inputs."""

from collections.abc import Mapping


def batch_sizes(maximum: int) -> tuple[int, ...]:
    """Return the sizes to which batches are padded: `maximum`, and below it 1, 2, 3, 4, 6, 8, 12 etc."""
    sizes = sorted({2**n for n in range(11)} | {3 * 2**n for n in range(10)})
    return (*(size for size in sizes if size < maximum), maximum)


def plan_runs(costs: Mapping[int, float]) -> dict[int, tuple[int, ...]]:
    """Return the sizes of the cheapest runs for each number of inputs up to the largest size.

    `costs` has the seconds of a run by its size. For 17 inputs, a heavy model may need less time for a run of
    16 and a run of 1 than for one run padded to 24; a light model may need more.
    """
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for count in range(1, max(costs, default=0) + 1):
        padded = min(size for size in costs if size >= count)
        choices: list[tuple[float, tuple[int, ...]]] = [(costs[padded], (padded,))]
        for size in (each for each in costs if each < count):
            seconds, runs = best[count - size]
            # A split must save 3 %, because the measured times vary.
            choices.append((1.03 * (costs[size] + seconds), (size, *runs)))
        best[count] = min(choices)
    del best[0]
    return {count: tuple(sorted(runs, reverse=True)) for count, (_, runs) in best.items()}
