"""Runs the model's graph on any number of inputs, in runs whose sizes are planned by their durations."""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from shared.settings import Settings
from worker.devices import Device, find_device
from worker.inspection_process import inspect_in_subprocess
from worker.keras_compat import import_keras
from worker.run_plan import RunPlan, run_sizes
from worker.tensorflow_compat import Pixels, Scores
from worker.tf_graph import SAMPLES, ScoringGraph, open_graph

logger = logging.getLogger(__name__)


@dataclass
class Engine:
    """A model that scores any number of inputs in one or more runs. Several threads may use it at once.

    `wanted` has the sizes of runs, in inputs, that the engine shall have. The warm-up adds these sizes to
    `plan`. A size that needs too much memory is removed from both.
    """

    graph: ScoringGraph
    fingerprint: str
    device: Device
    wanted: tuple[int, ...]
    plan: RunPlan
    _changing: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _running: int = 0
    _idle_since: float = field(default_factory=time.monotonic)

    @classmethod
    def build(cls, settings: Settings) -> "Engine":
        """Find the device; inspect, load and freeze the model that the settings name, and try the model.

        Raises:
            ModelError: the model is invalid or does not match the settings, or the device can't be used.
        """
        with ThreadPoolExecutor(2) as pool:
            # Other processes try the GPU and read the model file, while this process imports Keras.
            finding = pool.submit(find_device, settings)
            inspecting = pool.submit(inspect_in_subprocess, settings.model)
            import_keras()
            device, inspection = finding.result(), inspecting.result()
        graph = open_graph(settings, inspection, device)
        maximum = (
            max(settings.input_batch >> graph.cache.halvings, 1) if graph.cache else settings.input_batch
        )
        wanted = run_sizes(maximum, graph.compiles)
        # If runs are compiled, only the size of the check in `open_graph` is ready.
        ready = (min(SAMPLES, maximum),) if graph.compiles else wanted
        return cls(graph, inspection.fingerprint, device, wanted, RunPlan(ready))

    @property
    def input_batch(self) -> int:
        """Maximum number of inputs in one run of the model. The warm-up and a lack of memory change it."""
        return self.plan.sizes[-1]

    def run(self, pixels: Pixels, /) -> Scores:
        """Return the scores, float32 [n, outputs], of n ≥ 1 inputs, uint8 [n, height, width, channels].

        If a run fails because there is not enough memory, later runs have at most half as many inputs.
        """
        with self._counted():
            while True:
                plan = self.plan
                try:
                    return self._run_all(pixels, plan)
                except Exception as error:
                    self.reduce_batch(min(plan.sizes[-1], len(pixels)), error)

    def _run_all(self, pixels: Pixels, plan: RunPlan) -> Scores:
        parts, at = [], 0
        for size in plan.split(len(pixels)):
            parts.append(self.run_size(pixels[at : at + size], size))
            at += size
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def run_size(self, pixels: Pixels, size: int) -> Scores:
        """Score up to `size` inputs in one run.

        The inputs are padded with zeros to `size` inputs, so that the graph only runs with planned sizes.
        """
        count = len(pixels)
        if size > count:
            padded = np.zeros((size, *pixels.shape[1:]), np.uint8)
            padded[:count] = pixels
            pixels = padded
        return self.graph.run(pixels)[:count]

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._changing:
            self._running += 1
        try:
            yield
        finally:
            with self._changing:
                self._running -= 1
                self._idle_since = time.monotonic()

    def idle_seconds(self) -> float:
        """Return for how many seconds no inputs have been scored."""
        return 0.0 if self._running else time.monotonic() - self._idle_since

    def add_size(self, size: int, seconds: float) -> None:
        """Use runs of `size` inputs from now on; such a run takes `seconds`."""
        with self._changing:
            if size in self.wanted:
                self.plan = self.plan.with_size(size, seconds)

    def reduce_batch(self, size: int, error: Exception) -> None:
        """Reduce the maximum batch size to at most half of `size`.

        The caller calls this method after a run of `size` inputs has failed with `error`.

        Raises:
            Exception: `error`, if it has another cause than lack of memory, or if no smaller size exists.
        """
        with self._changing:
            smaller = [each for each in self.plan.sizes if each <= size // 2]
            if not (smaller and self.graph.is_out_of_memory(error)):
                raise error
            logger.error(
                "not enough memory for %d inputs at once: from now on the model runs at most %d inputs at"
                " once. Set INPUT_BATCH to %d",
                *(size, smaller[-1], smaller[-1]),
            )
            self.wanted = tuple(each for each in self.wanted if each <= smaller[-1])
            self.plan = self.plan.up_to(smaller[-1])
