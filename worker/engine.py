"""Stage three's engine: the model as one constant graph, uint8 pixels in, scores out."""

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.settings import PREPROCESS_NAMES, Settings
from worker.inspect_model import ModelError, inspect
from worker.loader import LoadedModel, load

logger = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Engine:
    """A frozen model that runs batches of any size, in runs of at most `sizes[-1]` inputs."""

    height: int
    width: int
    channels: int
    outputs: int
    sizes: tuple[int, ...]
    fingerprint: str
    loader: str
    graph: Callable[[Any], Any]

    @classmethod
    def build(cls, settings: Settings) -> "Engine":
        """Inspect, load and freeze the model of the settings.

        Raises:
            ModelError: the model can't be served, or not with these settings.
        """
        inspection = inspect(settings.model)
        model = load(settings.model, inspection)
        shape = _input_shape(model, settings)
        _check_preprocess(settings.preprocess, shape[2])
        _prepare_gpus()
        graph = _freeze(model, shape, settings)
        samples = _samples(shape)
        scores = np.asarray(graph(samples)[0])
        _tell_logits(scores, settings)
        if settings.precision == "bfloat16":
            graph = _in_bfloat16(model, shape, settings)
            _compare(scores, np.asarray(graph(samples)[0]))
        sizes, loader = batch_sizes(settings.input_batch), model.loader
        del model  # its weights are constants of the graph now
        gc.collect()
        return cls(*shape, scores.shape[1], sizes, inspection.fingerprint, loader, graph)

    def run(self, pixels: Pixels, /) -> Scores:
        """Score uint8 [n, height, width, channels]; returns float32 [n, outputs] in the same order, n ≥ 1."""
        most = self.sizes[-1]
        parts = [self._run(pixels[start : start + most]) for start in range(0, len(pixels), most)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run(self, pixels: Pixels) -> Scores:
        count = len(pixels)
        size = next(size for size in self.sizes if size >= count)
        if size > count:
            # Padded to a size that the warm-up has run, so that no request pays for a new shape.
            padded = np.zeros((size, *pixels.shape[1:]), np.uint8)
            padded[:count] = pixels
            pixels = padded
        scores: Scores = self.graph(pixels)[0].numpy()
        return scores[:count]

    def warm_up(self) -> float:
        """Run every size once and the largest twice; return the seconds of that second run."""
        for size in self.sizes:
            self.run(np.zeros((size, self.height, self.width, self.channels), np.uint8))
        start = perf_counter()
        self.run(np.zeros((self.sizes[-1], self.height, self.width, self.channels), np.uint8))
        return perf_counter() - start


def batch_sizes(most: int) -> tuple[int, ...]:
    """The sizes that batches are padded to: powers of two and the points half-way between, up to `most`."""
    powers = [2**n for n in range(11)]
    between = [3 * 2**n for n in range(10)]
    return (*sorted(size for size in (*powers, *between) if size < most), most)


def preprocessor(name: str) -> Callable[[Any], Any]:
    """Keras' own `preprocess_input` of the module `tf.keras.applications.NAME`."""
    import keras

    preprocess: Callable[[Any], Any] = getattr(keras.applications, name).preprocess_input
    return preprocess


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


def _prepare_gpus() -> None:
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)


def _freeze(model: LoadedModel, shape: tuple[int, int, int], settings: Settings) -> Callable[[Any], Any]:
    """Trace preprocessing, model and activation into one function, its weights constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    preprocess = preprocessor(settings.preprocess)

    @tf.function(input_signature=[tf.TensorSpec([None, *shape], tf.uint8)])  # type: ignore[untyped-decorator]
    def scores(pixels: Any) -> Any:
        answer = model.call(preprocess(tf.cast(pixels, tf.float32)))
        answer = tf.nn.softmax(answer) if settings.activation == "softmax" else answer
        return tf.cast(answer, tf.float32)

    frozen = convert_variables_to_constants_v2(scores.get_concrete_function())

    def graph(pixels: Pixels) -> Any:
        return frozen(tf.constant(pixels))

    if tf.config.list_physical_devices("GPU"):
        compiled = tf.function(lambda pixels: frozen(pixels), jit_compile=True)
        return lambda pixels: compiled(tf.constant(pixels))
    return graph


def _in_bfloat16(model: LoadedModel, shape: tuple[int, int, int], settings: Settings) -> Callable[[Any], Any]:
    """The same graph again: the option counts only for what is traced after it."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
    return _freeze(model, shape, settings)


def _samples(shape: tuple[int, int, int]) -> Pixels:
    """Smooth made-up pictures, always the same: uint8 [16, height, width, channels]."""
    height, width, channels = shape
    noise = np.random.default_rng(0).integers(0, 256, (16, channels, 6, 6), np.uint8)
    planes = [
        [Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC) for c in each] for each in noise
    ]
    return np.array([np.stack([np.asarray(plane) for plane in each], -1) for each in planes], np.uint8)


def _tell_logits(scores: Scores, settings: Settings) -> None:
    if settings.activation == "none" and not ((scores >= 0) & (scores <= 1)).all():
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
    difference = float(np.abs(exact - reduced).max())
    # Of answers that are as good as equal, either may come first.
    chosen = exact[np.arange(len(exact)), reduced.argmax(1)]
    same = 100 * float((chosen >= exact.max(1) - 0.01).mean())
    found = f"scores differ by up to {difference:.4f}, {same:.0f} % of the top answers are the same"
    logger.info("bfloat16 against float32 on made-up pictures: %s", found)
    if not (difference <= 0.1 and same >= 90):
        raise ModelError(f"INFERENCE_PRECISION=bfloat16 changes this model's answers: {found}; use float32")
