"""Stage three's engine: the model as one constant graph, uint8 pixels in, scores out."""

import ctypes
import gc
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.settings import PREPROCESS_NAMES, Settings
from worker.model_allowlist import ModelError
from worker.inspection_process import inspect_in_subprocess
from worker.model_loader import LoadedModel, import_tensorflow, load, one_line

logger = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]
Scores = NDArray[np.float32]


LONG_SECONDS, ROUNDS = 0.05, 5
"""A run that takes longer is timed once when the worker starts; shorter ones, which vary more, so many times
again, all sizes in turn: a moment in which the machine is slow must not make one of them look dear."""


@dataclass
class Engine:
    """A frozen model that runs batches of any size, in runs of the sizes that the warm-up has run.

    `costs` are the seconds that a run of each size took in the warm-up, and `plans` says for each number of
    inputs in which runs they cost least. `sizes` loses those for which there was not enough memory.
    """

    height: int
    width: int
    channels: int
    outputs: int
    sizes: tuple[int, ...]
    fingerprint: str
    loader: str
    graph: Callable[[Pixels], Scores]
    costs: dict[int, float] = field(default_factory=dict)
    plans: dict[int, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def build(cls, settings: Settings) -> "Engine":
        """Inspect, load, freeze and try the model of the settings.

        Raises:
            ModelError: the model can't be served, or not with these settings.
        """
        inspection = inspect_in_subprocess(settings.model)
        _prepare_devices(settings.threads)
        model = load(settings.model, inspection)
        shape = _input_shape(model, settings)
        _check_preprocess(settings.preprocess, shape[2])
        samples = _samples(shape)
        sizes = batch_sizes(settings.input_batch)
        try:
            frozen = _freeze(model, shape, settings)
            run = _runner(frozen, "float32", settings.threads)
            engine = cls(*shape, 0, sizes, inspection.fingerprint, model.loader, run)
            scores = engine.run(samples)
        except Exception as error:  # TensorFlow raises by the dozen
            size = "×".join(map(str, shape))
            raise ModelError(f"{settings.model} fails on images of {size}: {one_line(error)}") from error
        del model  # its weights are constants of the graph now
        gc.collect()
        _check_scores(scores, settings)
        if settings.precision == "bfloat16":
            engine = replace(engine, graph=_runner(frozen, "bfloat16", settings.threads))
            _compare(scores, engine.run(samples))
        return replace(engine, outputs=scores.shape[1])

    @property
    def input_batch(self) -> int:
        """The most inputs in one run of the model."""
        return self.sizes[-1]

    def run(self, pixels: Pixels, /) -> Scores:
        """Score uint8 [n, height, width, channels]; returns float32 [n, outputs] in the same order, n ≥ 1.

        Where there is not enough memory for a run, from then on only half as much goes into one.
        """
        while True:
            size = self.input_batch
            try:
                return self._run_all(pixels)
            except Exception as error:
                if not _is_out_of_memory(error) or not self._halve(min(size, len(pixels))):
                    raise

    def _run_all(self, pixels: Pixels) -> Scores:
        parts, at = [], 0
        for size in self._plan(len(pixels)):
            parts.append(self._run(pixels[at : at + size], size))
            at += size
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _halve(self, size: int) -> bool:
        """Run at most half of `size` inputs at once from now on; False where that is less than one."""
        sizes = tuple(each for each in self.sizes if each <= size // 2)
        if not sizes:
            return False
        logger.error(
            "not enough memory for %d inputs at once: from now on the model runs at most %d; "
            "a smaller INPUT_BATCH would say so from the start",
            *(size, sizes[-1]),
        )
        self.sizes = sizes
        self.costs = {size: cost for size, cost in self.costs.items() if size in sizes}
        self.plans = plan_runs(self.costs)
        return True

    def _seconds(self, size: int) -> float:
        """What a run of so many inputs takes."""
        pixels = np.zeros((size, self.height, self.width, self.channels), np.uint8)
        start = perf_counter()
        self._run(pixels, size)
        return perf_counter() - start

    def _plan(self, count: int) -> tuple[int, ...]:
        whole, rest = divmod(count, self.input_batch)
        last = (next(size for size in self.sizes if size >= rest),) if rest else ()
        plans = self.plans
        return plans.get(self.input_batch, (self.input_batch,)) * whole + plans.get(rest, last)

    def _run(self, pixels: Pixels, size: int) -> Scores:
        count = len(pixels)
        if size > count:
            # Padded to a size that the warm-up has run, so that no request pays for a new shape.
            padded = np.zeros((size, *pixels.shape[1:]), np.uint8)
            padded[:count] = pixels
            pixels = padded
        return self.graph(pixels)[:count]

    def warm_up(self) -> float:
        """Run every size, and plan by the times; return the seconds that the largest batch takes."""
        for size in self.sizes:
            try:
                self._seconds(size)  # the first run makes what the others find
                self.costs[size] = self._seconds(size)
            except Exception as error:
                if not _is_out_of_memory(error) or not self._halve(size):
                    raise
                break
        short = [size for size, cost in self.costs.items() if cost < LONG_SECONDS]
        for _, size in product(range(ROUNDS), short):
            self.costs[size] = min(self.costs[size], self._seconds(size))
        with suppress(AttributeError, OSError):  # glibc alone keeps what the start has freed
            ctypes.CDLL(None).malloc_trim(0)
        self.plans = plan_runs(self.costs)
        return sum(self.costs[size] for size in self.plans[self.input_batch])


def plan_runs(costs: Mapping[int, float]) -> dict[int, tuple[int, ...]]:
    """The cheapest runs for each number of inputs up to the largest size; a run of each size costs so much.

    Padding 17 inputs to 24 may cost a heavy model more than a run of 16 and one of 1; a light one less.
    """
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for count in range(1, max(costs, default=0) + 1):
        padded = min(size for size in costs if size >= count)
        choices: list[tuple[float, tuple[int, ...]]] = [(costs[padded], (padded,))]
        for size in (each for each in costs if each < count):
            seconds, runs = best[count - size]
            # A measured time is not exact: a further run must be worth it.
            choices.append((1.03 * (costs[size] + seconds), (size, *runs)))
        best[count] = min(choices)
    return {count: tuple(sorted(runs, reverse=True)) for count, (_, runs) in best.items() if count}


def _is_out_of_memory(error: Exception) -> bool:
    import tensorflow as tf

    return isinstance(error, tf.errors.ResourceExhaustedError | MemoryError)


def batch_sizes(most: int) -> tuple[int, ...]:
    """The sizes that batches are padded to: powers of two and the points half-way between, up to `most`."""
    powers = [2**n for n in range(11)]
    between = [3 * 2**n for n in range(10)]
    return (*sorted(size for size in (*powers, *between) if size < most), most)


def preprocessor(name: str) -> Callable[[Any], Any]:
    """Keras' own `preprocess_input` of the module `tf.keras.applications.NAME`."""
    import keras

    # Said, for a keras.json in the user's home may say otherwise.
    return partial(getattr(keras.applications, name).preprocess_input, data_format="channels_last")


def _input_shape(model: LoadedModel, settings: Settings) -> tuple[int, int, int]:
    asked = (settings.input_height, settings.input_width, settings.input_channels)
    names, usual = ("INPUT_HEIGHT", "INPUT_WIDTH", "INPUT_CHANNELS"), (299, 299, 3)
    shape = []
    for name, own, wanted, default in zip(names, model.input_shape[1:], asked, usual, strict=True):
        if own is not None and wanted is not None and own != wanted:
            raise ModelError(
                f"{name}={wanted}, but the model takes {own}: unset it, or serve the model it belongs to"
            )
        shape.append(own or wanted or default)
    if shape[2] not in (1, 3):
        raise ModelError(f"the model takes images of {shape[2]} channels; 1 and 3 are served")
    return (shape[0], shape[1], shape[2])


def _check_preprocess(name: str, channels: int) -> None:
    def fits(each: str) -> bool:
        pixels = np.zeros((1, 2, 2, channels), np.float32)
        try:
            return bool(np.shape(preprocessor(each)(pixels)) == pixels.shape)
        except (IndexError, ValueError):
            return False

    if not fits(name):
        others = ", ".join(each for each in PREPROCESS_NAMES if fits(each))
        raise ModelError(
            f"INFERENCE_PREPROCESS={name} is for 3 channels, and the model takes {channels};"
            f" these take {channels}: {others}"
        )


def _prepare_devices(threads: int) -> None:
    import_tensorflow()
    import tensorflow as tf

    with suppress(RuntimeError):  # an engine before this one has begun to use them
        # One pool serves the whole process: a session's own bound on it has no effect.
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)


def _freeze(model: LoadedModel, shape: tuple[int, int, int], settings: Settings) -> Any:
    """Trace preprocessing, model and activation into one concrete function, its weights constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    preprocess = preprocessor(settings.preprocess)

    @tf.function(input_signature=[tf.TensorSpec([None, *shape], tf.uint8)])  # type: ignore[untyped-decorator]
    def scores(pixels: Any) -> Any:
        answer = tf.cast(model.call(preprocess(tf.cast(pixels, tf.float32))), tf.float32)
        return tf.nn.softmax(answer) if settings.activation == "softmax" else answer

    return convert_variables_to_constants_v2(scores.get_concrete_function())


def _runner(frozen: Any, precision: str, threads: int) -> Callable[[Pixels], Scores]:
    """What runs the frozen function.

    On a CPU that is a session: calling the function itself took 1.1 ms longer, as TensorFlow puts every
    batch into words for an error that it then drops. And a session has its own precision.
    """
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        compiled = tf.function(lambda pixels: frozen(pixels)[0], jit_compile=True)
        return lambda pixels: np.asarray(compiled(tf.constant(pixels)))
    config = tf.compat.v1.ConfigProto()
    if threads:  # else branches of the model that run side by side would use more cores
        config.inter_op_parallelism_threads, config.use_per_session_threads = 1, True
    rewrites = config.graph_options.rewrite_options
    if precision == "bfloat16":
        rewrites.auto_mixed_precision_onednn_bfloat16 = rewrites.ON
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen.graph.as_graph_def(), name="")
        session = tf.compat.v1.Session(graph=graph, config=config)
    run: Callable[[Pixels], Scores] = session.make_callable(frozen.outputs[0].name, [frozen.inputs[0].name])
    return run


def _samples(shape: tuple[int, int, int]) -> Pixels:
    """Smooth made-up pictures, always the same: uint8 [16, height, width, channels]."""
    height, width, channels = shape
    noise = np.random.default_rng(0).integers(0, 256, (16, channels, 6, 6), np.uint8)
    planes = [
        [Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC) for c in each] for each in noise
    ]
    return np.array([np.stack([np.asarray(plane) for plane in each], -1) for each in planes], np.uint8)


def _check_scores(scores: Scores, settings: Settings) -> None:
    if not np.isfinite(scores).all():
        raise ModelError(f"{settings.model} gives scores that are not numbers; its weights are damaged")
    # Independent probabilities (sigmoid) need not sum to 1, so only values outside of 0 to 1 tell logits.
    if settings.activation == "none" and (scores.min() < -1e-3 or scores.max() > 1 + 1e-3):
        logger.warning(
            "the model's outputs are not probabilities (they reach from %.3g to %.3g): if they are logits, "
            "set INFERENCE_ACTIVATION=softmax",
            scores.min(),
            scores.max(),
        )


def _compare(exact: Scores, reduced: Scores) -> None:
    """Refuse a precision whose answers are others.

    Raises:
        ModelError: scores differ by more than 0.1, or fewer than 9 of 10 top answers are the same.
    """
    if not _has_bfloat16():
        logger.warning(
            "this processor has no bfloat16 arithmetic of its own: float32 may be as fast or faster"
        )
    difference = float(np.abs(exact - reduced).max())
    # Of answers that are as good as equal, either may come first.
    chosen = exact[np.arange(len(exact)), reduced.argmax(1)]
    same = 100 * float((chosen >= exact.max(1) - 0.01).mean())
    found = f"scores differ by up to {difference:.4f}, {same:.0f} % of the top answers are the same"
    logger.info("bfloat16 against float32 on made-up pictures: %s", found)
    if not (difference <= 0.1 and same >= 90):
        raise ModelError(f"INFERENCE_PRECISION=bfloat16 changes this model's answers: {found}; use float32")


def _has_bfloat16() -> bool:
    """Whether the processor says so (avx512_bf16, amx_bf16, bf16); where Linux' list is missing, True."""
    with suppress(OSError):
        return "bf16" in Path("/proc/cpuinfo").read_text()
    return True
