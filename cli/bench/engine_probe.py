"""Measures the scores and the speed of one engine, in its own process.

`python -m cli.bench.engine_probe` reads a `ProbePlan` in JSON format from stdin. The program writes the
scores of the plan's inputs to a file, and prints the images per second in JSON format. The environment
variables choose the model, its device and its precision.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli.bench.bare_engine import BareEngine
from shared.settings import Settings
from worker.decode import decode

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ProbePlan:
    """The paths of images to score, the file for the scores, and the measurements of the speed.

    The speed is measured for each number of inputs in a batch (`sizes`), and for each number of batches that
    run at the same time (`under_way`), during `seconds`.
    """

    images: list[str]
    scores: str
    sizes: list[int]
    under_way: list[int]
    seconds: float


def probe(environ: Mapping[str, str], plan: ProbePlan) -> dict[str, dict[str, float]]:
    """Run a plan in a new process; return the images per second, by batch size and batches under way.

    Raises:
        RuntimeError: the engine could not start. The message has the reason.
    """
    done = subprocess.run(
        [sys.executable, "-m", "cli.bench.engine_probe"],
        input=json.dumps(asdict(plan)),
        env=os.environ | dict(environ) | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1])
    speeds: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return speeds


def main() -> int:
    """Read a plan from stdin, save the scores, and print the images per second."""
    plan = ProbePlan(**json.load(sys.stdin))
    bare = BareEngine.build(Settings.from_environ(), [])
    inputs = _inputs(
        np.concatenate([decode(Path(each).read_bytes(), None, bare.spec) for each in plan.images])
    )
    np.save(plan.scores, bare.engine.run(inputs))
    speeds = {
        size: {count: _speed(bare.engine.run, inputs, size, count, plan.seconds) for count in plan.under_way}
        for size in plan.sizes
    }
    print(json.dumps(speeds))
    return 0


def _inputs(pixels: Pixels) -> Pixels:
    """Return four times as many inputs: the images, their mirror images on both axes, and their negatives."""
    return np.concatenate([pixels, pixels[:, ::-1], pixels[:, :, ::-1], 255 - pixels])


def _speed(run: Callable[[Any], object], inputs: Pixels, size: int, under_way: int, seconds: float) -> float:
    """Return the images per second if several threads run batches at the same time."""
    batch = np.resize(inputs, (size, *inputs.shape[1:]))

    def repeat(end: float) -> int:
        runs = 0
        while runs == 0 or time.perf_counter() < end:
            run(batch)
            runs += 1
        return runs

    with ThreadPoolExecutor(under_way) as pool:
        list(pool.map(repeat, [0.0] * under_way))  # The first runs are slower, so they are not counted.
        start = time.perf_counter()
        runs = sum(pool.map(repeat, [start + seconds] * under_way))
        return size * runs / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
