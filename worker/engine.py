"""Runs the model as one TensorFlow graph that turns uint8 pixels into scores."""

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from shared.settings import PREPROCESS_NAMES, Settings
from worker.inspection_process import inspect_in_subprocess
from worker.model_allowlist import ModelError
from worker.model_loader import LoadedModel, load, one_line
from worker.precision_check import check_precision
from worker.run_plan import plan_runs, run_sizes
from worker.tensorflow_compat import Pixels, Scores, freeze, make_runner, prepare_devices

logger = logging.getLogger(__name__)


@dataclass
class Engine:
    """A frozen model that scores any number of inputs in one or more runs.

    `sizes` has the possible numbers of inputs in a run. A size that needs too much memory is removed from
    `sizes`. `costs` maps the size of a run to the run's duration in seconds, which the warm-up measures.
    `plans` maps a number of inputs to the sizes of the runs that score these inputs fastest.
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
        """Inspect, load and freeze the model that the settings name, and try it with sample images.

        Raises:
            ModelError: the model is invalid, or does not match the settings.
        """
        inspection = inspect_in_subprocess(settings.model)
        prepare_devices(settings.threads)
        model = load(settings.model, inspection)
        shape = _input_shape(model, settings)
        _check_preprocess(settings.preprocess, shape[2])
        samples = _samples(shape)
        try:
            frozen = freeze(_trace(model, shape, settings))
            run, sizes = make_runner(frozen, "float32", settings.threads), run_sizes(settings.input_batch)
            engine = cls(*shape, 0, sizes, inspection.fingerprint, model.loader, run)
            scores = engine.run(samples)
        except Exception as error:  # TensorFlow raises exceptions of many types.
            size = "×".join(map(str, shape))
            raise ModelError(f"{settings.model} fails on images of {size}: {one_line(error)}") from error
        del model  # The frozen graph has its own copy of the weights.
        gc.collect()
        _check_scores(scores, settings)
        if settings.precision == "bfloat16":
            engine = replace(engine, graph=make_runner(frozen, "bfloat16", settings.threads))
            check_precision(scores, engine.run(samples))
        return replace(engine, outputs=scores.shape[1])

    @property
    def input_batch(self) -> int:
        """Maximum number of inputs in one run of the model."""
        return self.sizes[-1]

    def run(self, pixels: Pixels, /) -> Scores:
        """Return the scores, float32 [n, outputs], of n ≥ 1 inputs, uint8 [n, height, width, channels].

        If a run fails because there is not enough memory, later runs have at most half as many inputs.
        """
        while True:
            size = self.input_batch
            try:
                return self._run_all(pixels)
            except Exception as error:
                self.reduce_batch(min(size, len(pixels)), error)

    def _run_all(self, pixels: Pixels) -> Scores:
        parts, at = [], 0
        for size in self._plan(len(pixels)):
            parts.append(self.run_size(pixels[at : at + size], size))
            at += size
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _plan(self, count: int) -> tuple[int, ...]:
        whole, rest = divmod(count, self.input_batch)
        last = (next(size for size in self.sizes if size >= rest),) if rest else ()
        plans = self.plans
        return plans.get(self.input_batch, (self.input_batch,)) * whole + plans.get(rest, last)

    def run_size(self, pixels: Pixels, size: int) -> Scores:
        """Score up to `size` inputs in one run.

        The inputs are padded with zeros to `size` inputs, because the first run of any new size is slow.
        """
        count = len(pixels)
        if size > count:
            padded = np.zeros((size, *pixels.shape[1:]), np.uint8)
            padded[:count] = pixels
            pixels = padded
        return self.graph(pixels)[:count]

    def reduce_batch(self, size: int, error: Exception) -> None:
        """Reduce the maximum batch size to at most half of `size`.

        The caller calls this method after a run of `size` inputs has failed with `error`.

        Raises:
            Exception: `error`, if it has another cause than lack of memory, or if no smaller size exists.
        """
        sizes = tuple(each for each in self.sizes if each <= size // 2)
        if not (sizes and _is_out_of_memory(error)):
            raise error
        logger.error(
            "not enough memory for %d inputs at once: from now on the model runs at most %d inputs at once."
            " Set INPUT_BATCH to %d",
            *(size, sizes[-1], sizes[-1]),
        )
        self.sizes = sizes
        self.costs = {size: cost for size, cost in self.costs.items() if size in sizes}
        self.plans = plan_runs(self.costs)


def _is_out_of_memory(error: Exception) -> bool:
    import tensorflow as tf

    return isinstance(error, tf.errors.ResourceExhaustedError | MemoryError)


def preprocessor(name: str) -> Callable[[Any], Any]:
    """Return the function `preprocess_input` of Keras' module `keras.applications.NAME`."""
    import keras

    # Without this argument, the file keras.json in the user's home folder would choose the data format.
    return partial(getattr(keras.applications, name).preprocess_input, data_format="channels_last")


def _input_shape(model: LoadedModel, settings: Settings) -> tuple[int, int, int]:
    wanted = (settings.input_height, settings.input_width, settings.input_channels)
    names, defaults = ("INPUT_HEIGHT", "INPUT_WIDTH", "INPUT_CHANNELS"), (299, 299, 3)
    shape = []
    for name, own, value, default in zip(names, model.input_shape[1:], wanted, defaults, strict=True):
        if own is not None and value is not None and own != value:
            raise ModelError(
                f"{name}: expected the model's {own}, got {value}. Unset {name}, or use another model."
            )
        shape.append(own or value or default)
    if shape[2] not in (1, 3):
        raise ModelError(f"the model: expected images of 1 or 3 channels, got {shape[2]}. Use another model.")
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
            f"INFERENCE_PREPROCESS: expected a name for images of {channels} channels, got {name}."
            f" Set it to one of: {others}"
        )


def _trace(model: LoadedModel, shape: tuple[int, int, int], settings: Settings) -> Any:
    """Trace preprocessing, model and activation into one concrete TensorFlow function."""
    import tensorflow as tf

    preprocess = preprocessor(settings.preprocess)

    @tf.function(input_signature=[tf.TensorSpec([None, *shape], tf.uint8)])  # type: ignore[untyped-decorator]
    def scores(pixels: Any) -> Any:
        answer = tf.cast(model.call(preprocess(tf.cast(pixels, tf.float32))), tf.float32)
        return tf.nn.softmax(answer) if settings.activation == "softmax" else answer

    return scores.get_concrete_function()


def _samples(shape: tuple[int, int, int]) -> Pixels:
    """Return smooth synthetic images, uint8 [16, height, width, channels].

    Every call returns the same images.
    """
    height, width, channels = shape
    size = (width, height)
    noise = np.random.default_rng(0).integers(0, 256, (16, channels, 6, 6), np.uint8)
    planes = [[Image.fromarray(c).resize(size, Image.Resampling.BICUBIC) for c in each] for each in noise]
    return np.array([np.stack([np.asarray(plane) for plane in each], -1) for each in planes], np.uint8)


def _check_scores(scores: Scores, settings: Settings) -> None:
    if not np.isfinite(scores).all():
        raise ModelError(
            f"{settings.model} returns scores that are not finite numbers: its weights are damaged"
        )
    # Independent probabilities (sigmoid) need not sum to 1, so only values outside of 0 to 1 indicate logits.
    if settings.activation == "none" and (scores.min() < -1e-3 or scores.max() > 1 + 1e-3):
        logger.warning(
            "the model's outputs are not probabilities (they range from %.3g to %.3g): if they are logits, "
            "set INFERENCE_ACTIVATION=softmax",
            *(scores.min(), scores.max()),
        )
