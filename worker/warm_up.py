"""The warm-up at a worker's start: measures the duration of a run of every size, to plan the fastest runs."""

from itertools import product
from time import perf_counter

import numpy as np

from worker.engine import Engine
from worker.run_plan import plan_runs
from worker.tensorflow_compat import release_freed_memory

SHORT_SECONDS = 0.05
"""Maximum duration of a short run, in seconds.

Short runs are timed repeatedly, because their times vary more than the times of long runs."""

ROUNDS = 5
"""Number of further rounds in which short runs are timed again.

Each round times one run of every short size. Thus, a slow moment of the machine affects all sizes alike."""


def warm_up(engine: Engine) -> float:
    """Time a run of every size, and plan later runs by these times.

    Returns the number of seconds that a full batch takes.
    """
    for size in engine.sizes:
        try:
            _time_run(engine, size)  # The first run of a size is slower: it allocates memory and compiles.
            engine.costs[size] = _time_run(engine, size)
        except Exception as error:
            engine.reduce_batch(size, error)
            break
    short = [size for size, cost in engine.costs.items() if cost < SHORT_SECONDS]
    for _, size in product(range(ROUNDS), short):
        engine.costs[size] = min(engine.costs[size], _time_run(engine, size))
    release_freed_memory()
    engine.plans = plan_runs(engine.costs)
    return sum(engine.costs[size] for size in engine.plans[engine.input_batch])


def _time_run(engine: Engine, size: int) -> float:
    pixels = np.zeros((size, engine.height, engine.width, engine.channels), np.uint8)
    start = perf_counter()
    engine.run_size(pixels, size)
    return perf_counter() - start
