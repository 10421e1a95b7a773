"""The warm-up at a worker's start: compiles runs of every size if necessary, and times them."""

import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product

import numpy as np

from shared.cores import available_cores
from worker.engine import Engine
from worker.tensorflow_compat import release_freed_memory

logger = logging.getLogger(__name__)

SHORT_SECONDS = 0.05
"""Maximum duration of a short run, in seconds.

Short runs are timed repeatedly, because their times vary more than the times of long runs."""

ROUNDS = 5
"""Number of further rounds in which short runs are timed again.

Each round times one run of every short size, so a slow moment of the machine affects all sizes alike."""

IDLE_SECONDS = 0.1
"""Minimum time without jobs before a run is timed in the background, in seconds."""


def warm_up(engine: Engine, seconds: float = math.inf) -> Callable[[], None]:
    """Time runs of the sizes that are ready for about `seconds`, the smallest size first.

    Returns a function that prepares the remaining sizes. The worker calls this function in a thread,
    while the worker already runs jobs. If `seconds` is infinite, all sizes are prepared at once.

    Raises:
        Exception: the model can't run with one input.
    """
    end = time.monotonic() + seconds
    for size in engine.plan.sizes:
        if engine.plan.measured and (time.monotonic() >= end or size > engine.input_batch):
            break
        _prepare(engine, size)
    if seconds == math.inf:
        _prepare_rest(engine, lambda: None)
    return partial(_prepare_behind, engine)


def _prepare_behind(engine: Engine) -> None:
    """Prepare the remaining sizes; time runs only while there are no jobs."""

    def wait() -> None:
        while engine.idle_seconds() < IDLE_SECONDS:
            time.sleep(IDLE_SECONDS / 4)

    try:
        _prepare_rest(engine, wait)
        logger.info("warm-up finished: runs of %s inputs", ", ".join(map(str, engine.plan.sizes)))
    except Exception:  # The sizes that are ready are enough to run jobs.
        logger.exception("warm-up failed: the model runs at most %d inputs at once", engine.input_batch)


def _prepare_rest(engine: Engine, wait: Callable[[], None]) -> None:
    if engine.graph.compiles and (rest := _remaining(engine)):
        with ThreadPoolExecutor(min(len(rest), available_cores())) as pool:
            list(pool.map(partial(_try_to_compile, engine), rest))
    while rest := _remaining(engine):
        wait()
        _prepare(engine, rest[0])
    if engine.graph.cache:
        engine.graph.cache.seal()
    short = [size for size, cost in engine.plan.measured.items() if cost < SHORT_SECONDS]
    for _, size in product(range(ROUNDS), short):
        wait()
        engine.add_size(size, _time_run(engine, size))
    release_freed_memory()


def _remaining(engine: Engine) -> list[int]:
    return [size for size in engine.wanted if size not in engine.plan.measured]


def _try_to_compile(engine: Engine, size: int) -> None:
    """Compile runs of this size.

    If there is not enough memory, the size remains to be prepared when nothing else is compiled.
    """
    try:
        _add_size(engine, size)
    except Exception as error:
        if not engine.graph.is_out_of_memory(error):
            raise


def _prepare(engine: Engine, size: int) -> None:
    try:
        _add_size(engine, size)
    except Exception as error:
        engine.reduce_batch(size, error)


def _add_size(engine: Engine, size: int) -> None:
    if engine.graph.compiles:
        _time_run(engine, size)  # The first run of a size compiles the graph.
    engine.add_size(size, _time_run(engine, size))


def _time_run(engine: Engine, size: int) -> float:
    pixels = np.zeros((size, *engine.graph.shape), np.uint8)
    start = time.perf_counter()
    engine.run_size(pixels, size)
    return time.perf_counter() - start
