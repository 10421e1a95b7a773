"""The warm-up at a worker's start: times the model at every batch size, to plan the fastest runs."""

from itertools import product
from time import perf_counter

import numpy as np

from worker.engine import Engine
from worker.run_plan import plan_runs
from worker.tensorflow_compat import release_freed_memory

SHORT_SECONDS = 0.05
"""Maximum duration of a short run, in seconds; short runs are timed repeatedly, as their times vary more."""

ROUNDS = 5
"""Number of further rounds in which short runs are timed again.

Each round times every short run once, so that a slow moment of the machine affects all sizes alike."""


def warm_up(engine: Engine) -> float:
    """Time a run of every size, plan later runs by these times, and return the seconds of a full batch."""
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
