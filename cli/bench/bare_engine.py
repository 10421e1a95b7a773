"""The model without a service around it, in a process of its own: `python -m cli.bench.bare_engine < plans`.

What the service can be compared with: the same decoding and the same engine, as fast as a plain program
runs them on the same cores, the next batch being decoded while the model runs.
"""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.settings import Settings
from worker.decode import PixelSpec, decode
from worker.engine import Engine, preprocessor
from worker.model_allowlist import ModelError
from worker.warm_up import warm_up


def main() -> int:
    """Measure by the plans of stdin, a line each, the first in full; settings are the environment's."""
    settings, plan = Settings.from_environ(), json.loads(sys.stdin.readline())
    bare = Bare.build(settings, [Path(each).read_bytes() for each in plan["images"]])
    told = bare.measure(plan["seconds"])
    if plan.get("predict"):
        told["in_turn"] = in_turn(settings, bare.engine, plan["seconds"], plan["sizes"])
    print(json.dumps(told), flush=True)
    for line in sys.stdin:
        seconds = json.loads(line)["seconds"]
        told = {"images_per_second": bare.pipelined(seconds), "lone_ms": bare.lone(seconds / 4)}
        print(json.dumps(told), flush=True)
    return 0


@dataclass(frozen=True)
class Bare:
    """A warm engine, and the images that it is asked about, in turn."""

    engine: Engine
    spec: PixelSpec
    images: Sequence[bytes]

    @classmethod
    def build(cls, settings: Settings, images: Sequence[bytes]) -> "Bare":
        """Load the model and run all sizes of batches once."""
        engine = Engine.build(settings)
        warm_up(engine)
        shape = (engine.height, engine.width, engine.channels)
        return cls(engine, PixelSpec(*shape, settings.input_color, settings.input_resize), images)

    def measure(self, seconds: float) -> dict[str, Any]:
        """Images a second of decoding and model together, a lone image's time, and the model's by size."""
        engine, cores = self.engine, os.cpu_count() or 1
        cpu, started = time.process_time(), time.perf_counter()
        together = self.pipelined(seconds)
        share = (time.process_time() - cpu) / ((time.perf_counter() - started) * cores)
        powers = [size for size in engine.sizes if size & (size - 1) == 0]
        return {
            "images_per_second": together,
            "cpu_ms_per_image": share * cores * 1000 / together,
            "lone_ms": self.lone(seconds / 4),
            "decode_ms": _median(lambda: decode(self.images[0], None, self.spec), seconds / 4),
            "sizes": {size: _speed(engine, size, seconds / 8) for size in powers},
            "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        }

    def lone(self, seconds: float) -> float:
        """Milliseconds for one image, the median."""
        return _median(lambda: self.engine.run(decode(self.images[0], None, self.spec)), seconds)

    def pipelined(self, seconds: float) -> float:
        """Images a second of full batches, each decoded while the one before is in the model."""
        batch = [self.images[n % len(self.images)] for n in range(self.engine.input_batch)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:

            def decoded() -> Iterator[NDArray[np.uint8]]:
                return pool.map(lambda image: decode(image, None, self.spec), batch)

            ahead = decoded()

            def run_next() -> int:
                nonlocal ahead
                pixels = np.concatenate(list(ahead))
                ahead = decoded()
                return len(self.engine.run(pixels))

            run_next()  # from here on, decoding and model go side by side
            count, start = 0, time.perf_counter()
            while time.perf_counter() - start < seconds:
                count += run_next()
            took = time.perf_counter() - start
            list(ahead)
        return count / took


def _median(run: Callable[[], object], seconds: float) -> float:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def _speed(engine: Engine, size: int, seconds: float) -> float:
    """Images a second of the model alone, in batches of `size`."""
    shape = (size, engine.height, engine.width, engine.channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    engine.run(pixels)
    return size / _median(lambda: engine.run(pixels), seconds) * 1000


def in_turn(
    settings: Settings, engine: Engine, seconds: float, sizes: Sequence[int]
) -> dict[str, dict[int, float]]:
    """Images a second of the model alone, by size: here, in bfloat16, and by Keras; run by run in turn."""
    shape, found = (engine.height, engine.width, engine.channels), dict[str, dict[int, float]]()
    runs = {"float32": engine.run, **_reduced(settings), "predict": _predict(settings)}
    for size in sizes:
        pixels = np.random.default_rng(0).integers(0, 256, (size, *shape), np.uint8)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for run in runs.values():
            run(pixels)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times["predict"]) < 3:
            for name, run in runs.items():
                start = time.perf_counter()
                run(pixels)
                times[name].append(time.perf_counter() - start)
        for name, each in times.items():
            found.setdefault(name, {})[size] = size / statistics.median(each)
    return found


Run = Callable[[Any], object]
"""Scores uint8 [n, height, width, channels]."""


def _reduced(settings: Settings) -> dict[str, Run]:
    """The engine in bfloat16; nothing where it changes the answers."""
    try:
        return {"bfloat16": Engine.build(replace(settings, precision="bfloat16")).run}
    except ModelError:
        return {}


def _predict(settings: Settings) -> Run:
    """Keras' own `model.predict`, as the original server calls it."""
    import keras

    model = keras.models.load_model(settings.model, compile=False)
    preprocess = preprocessor(settings.preprocess)
    return lambda pixels: model.predict(preprocess(pixels.astype(np.float32)), verbose=0)


if __name__ == "__main__":
    sys.exit(main())
