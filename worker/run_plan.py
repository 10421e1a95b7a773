"""Splits a batch into runs of the model that together score the batch in the shortest time."""

from collections.abc import Mapping


def run_sizes(maximum: int) -> tuple[int, ...]:
    """Return the possible numbers of inputs in one run: 1, 2, 3, 4, 6, 8, 12 etc. up to `maximum`."""
    sizes = sorted({2**n for n in range(11)} | {3 * 2**n for n in range(10)})
    return (*(size for size in sizes if size < maximum), maximum)


def plan_runs(costs: Mapping[int, float]) -> dict[int, tuple[int, ...]]:
    """Return the fastest sequence of run sizes for each number of inputs up to the largest run size.

    `costs` maps the size of a run, in inputs, to the run's duration in seconds. For example, the model
    can score 17 inputs in a run of 16 inputs and a run of 1 input. Another plan for 17 inputs is one run that
    is padded to 24 inputs. For a large model, the two runs may be faster. For a small model, the padded run
    may be faster.
    """
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for count in range(1, max(costs, default=0) + 1):
        padded = min(size for size in costs if size >= count)
        choices: list[tuple[float, tuple[int, ...]]] = [(costs[padded], (padded,))]
        for size in (each for each in costs if each < count):
            seconds, runs = best[count - size]
            # Measured times vary, so several runs are used only if they are about 3 % faster than one run.
            choices.append((1.03 * (costs[size] + seconds), (size, *runs)))
        best[count] = min(choices)
    del best[0]
    return {count: tuple(sorted(runs, reverse=True)) for count, (_, runs) in best.items()}
