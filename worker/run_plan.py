"""Splits a batch into runs of the model that together score the batch in the shortest time."""

from collections.abc import Mapping
from dataclasses import dataclass, field


def run_sizes(maximum: int, compiled: bool = False) -> tuple[int, ...]:
    """Return the possible numbers of inputs in one run: 1, 2, 3, 4, 6, 8, 12 etc. up to `maximum`.

    If each size must be compiled, the numbers are 1, 8, 32, 128, 512 and `maximum`. Compiling a size takes
    several seconds, and a GPU scores a padded run almost as fast as a smaller run.
    """
    sizes = {1, 8, 32, 128, 512} if compiled else {2**n for n in range(11)} | {3 * 2**n for n in range(10)}
    return (*sorted(size for size in sizes if size < maximum), maximum)


@dataclass(frozen=True)
class RunPlan:
    """The sizes of runs that are ready, and for each number of inputs the runs that score them fastest.

    `measured` maps the size of a run, in inputs, to the run's duration in seconds. It may lack sizes.
    """

    sizes: tuple[int, ...]
    measured: Mapping[int, float] = field(default_factory=dict)
    plans: Mapping[int, tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plans", plan_runs(self.costs()) if self.measured else {})

    def costs(self) -> dict[int, float]:
        """Return the duration of a run of each size, in seconds.

        A duration that is not measured is estimated in proportion to the largest measured size.
        """
        largest = max(self.measured)
        per_input = self.measured[largest] / largest
        return {size: self.measured.get(size, per_input * size) for size in self.sizes}

    def split(self, count: int) -> tuple[int, ...]:
        """Return the sizes of the runs for `count` inputs; the last run may be padded."""
        maximum = self.sizes[-1]
        whole, rest = divmod(count, maximum)
        padded = (next(size for size in self.sizes if size >= rest),) if rest else ()
        return self.plans.get(maximum, (maximum,)) * whole + self.plans.get(rest, padded)

    def inputs_per_second(self) -> float:
        """Return how many inputs per second are scored in full batches, by the durations of the runs."""
        costs = self.costs()
        return self.sizes[-1] / sum(costs[size] for size in self.split(self.sizes[-1]))

    def with_size(self, size: int, seconds: float) -> "RunPlan":
        """Return a plan that also has runs of this size, with this duration."""
        sizes = tuple(sorted({*self.sizes, size}))
        return RunPlan(sizes, {**self.measured, size: min(seconds, self.measured.get(size, seconds))})

    def up_to(self, maximum: int) -> "RunPlan":
        """Return a plan without the sizes above `maximum`."""
        sizes = tuple(size for size in self.sizes if size <= maximum)
        return RunPlan(sizes, {size: cost for size, cost in self.measured.items() if size <= maximum})


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
