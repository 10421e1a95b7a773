"""Measures the speed of image decoding and of the model, without HTTP and Redis.

`python -m cli.bench.bare_engine < plans` reads plans in JSON format and makes the measurements of each plan.
`bench` compares the service with the engine alone. Both use the same image decoding, engine and CPU cores.
While the model processes a batch, threads decode the images of the next batch. The service does the same.
"""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.settings import Settings
from worker.decode import PixelSpec, decode
from worker.engine import Engine
from worker.model_allowlist import ModelError
from worker.preprocessing import preprocessor
from worker.warm_up import warm_up


def main() -> int:
    """Read a JSON plan from each line of stdin; print one JSON line of measurements for each plan.

    The first plan requests all measurements. Each later plan requests two measurements: the images per second
    in full batches, and the time of a single image.
    """
    settings, plan = Settings.from_environ(), json.loads(sys.stdin.readline())
    bare = BareEngine.build(settings, [Path(each).read_bytes() for each in plan["images"]])
    measured = bare.measure(plan["seconds"])
    if plan.get("predict"):
        measured["in_turn"] = compare_with_keras(settings, bare.engine, plan["seconds"], plan["sizes"])
    print(json.dumps(measured), flush=True)
    for line in sys.stdin:
        seconds = json.loads(line)["seconds"]
        measured = {"images_per_second": bare.pipelined(seconds), "lone_ms": bare.lone(seconds / 4)}
        print(json.dumps(measured), flush=True)
    return 0


@dataclass(frozen=True)
class BareEngine:
    """An inference engine that has run once for each batch size, and the images to measure its speed."""

    engine: Engine
    spec: PixelSpec
    images: Sequence[bytes]

    @classmethod
    def build(cls, settings: Settings, images: Sequence[bytes]) -> "BareEngine":
        """Load the model, and warm it up with one run of each batch size."""
        engine = Engine.build(settings)
        warm_up(engine)
        return cls(
            engine,
            PixelSpec.of(engine.graph.shape, settings),
            images,
        )

    def measure(self, seconds: float) -> dict[str, Any]:
        """Measure images/s in full batches, a single image's time, and the model's speed by batch size."""
        engine, cores = self.engine, os.cpu_count() or 1
        cpu, started = time.process_time(), time.perf_counter()
        together = self.pipelined(seconds)
        share = (time.process_time() - cpu) / ((time.perf_counter() - started) * cores)
        powers = [size for size in engine.plan.sizes if size & (size - 1) == 0]
        return {
            "images_per_second": together,
            "cpu_ms_per_image": share * cores * 1000 / together,
            "lone_ms": self.lone(seconds / 4),
            "decode_ms": _median_ms(lambda: self._decode(self.images[0]), seconds / 4),
            "sizes": {size: self._model_speed(size, seconds / 8) for size in powers},
            "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        }

    def lone(self, seconds: float) -> float:
        """Return the median time to decode and classify a single image, in milliseconds."""
        return _median_ms(lambda: self.engine.run(self._decode(self.images[0])), seconds)

    def pipelined(self, seconds: float) -> float:
        """Return the images per second in full batches.

        While the model runs a batch, threads decode the images of the next batch.
        """
        batch = [self.images[n % len(self.images)] for n in range(self.engine.input_batch)]
        ends: list[float] = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            decoded = pool.map(self._decode, batch)
            # The model is idle while the first batch is decoded, so the measurement begins after that batch.
            while len(ends) < 2 or ends[-1] - ends[0] < seconds:
                pixels = np.concatenate(list(decoded))
                decoded = pool.map(self._decode, batch)
                self.engine.run(pixels)
                ends.append(time.perf_counter())
        return len(batch) * (len(ends) - 1) / (ends[-1] - ends[0])

    def _decode(self, image: bytes) -> NDArray[np.uint8]:
        return decode(image, None, self.spec)

    def _model_speed(self, size: int, seconds: float) -> float:
        """Return the images per second of the model without decoding, in batches of `size` images."""
        pixels = _random_pixels(self.engine, size)
        self.engine.run(pixels)
        return size / _median_ms(lambda: self.engine.run(pixels), seconds) * 1000


def _random_pixels(engine: Engine, size: int) -> NDArray[np.uint8]:
    shape = (size, *engine.graph.shape)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _milliseconds(run: Callable[..., object], *arguments: Any) -> float:
    start = time.perf_counter()
    run(*arguments)
    return (time.perf_counter() - start) * 1000


def _median_ms(run: Callable[[], object], seconds: float) -> float:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        times.append(_milliseconds(run))
    return statistics.median(times)


Run = Callable[[Any], object]
"""Function that runs a model on the pixels of n images.

The pixels are a uint8 array of the shape [n, height, width, channels].
"""


def compare_with_keras(
    settings: Settings, engine: Engine, seconds: float, sizes: Sequence[int]
) -> dict[str, dict[int, float]]:
    """Return the images per second for each batch size: with float32, with bfloat16, and with Keras.

    The engine and Keras run alternately. A change of the machine's speed then affects both equally.
    """
    runs: dict[str, Run] = {"float32": engine.run, **_bfloat16(settings), "predict": _predict(settings)}
    speeds: dict[str, dict[int, float]] = {name: {} for name in runs}
    for size in sizes:
        for name, milliseconds in _by_turns(runs, _random_pixels(engine, size), seconds).items():
            speeds[name][size] = 1000 * size / milliseconds
    return speeds


def _by_turns(runs: Mapping[str, Run], pixels: NDArray[np.uint8], seconds: float) -> dict[str, float]:
    """Run the functions in turn, several times; return each function's median time in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(pixels)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["predict"]) < 3:
        for name, run in runs.items():
            times[name].append(_milliseconds(run, pixels))
    return {name: statistics.median(each) for name, each in times.items()}


def _bfloat16(settings: Settings) -> dict[str, Run]:
    """Return a dict with the `run` function of a bfloat16 engine.

    The dict is empty if the engine refuses bfloat16, for example because bfloat16 changes the model's
    answers.
    """
    try:
        return {"bfloat16": Engine.build(replace(settings, precision="bfloat16")).run}
    except ModelError:
        return {}


def _predict(settings: Settings) -> Run:
    """Return a function that calls Keras' `model.predict`.

    The server that this project replaces also calls `model.predict`.
    """
    import keras

    model = keras.models.load_model(settings.model, compile=False)
    preprocess = preprocessor(settings)
    return lambda pixels: model.predict(preprocess(pixels.astype(np.float32)), verbose=0)


if __name__ == "__main__":
    sys.exit(main())
