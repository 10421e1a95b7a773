"""Builds the TensorFlow graph that turns uint8 pixels into scores, on the CPU or on a GPU."""

import gc
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shared.settings import Settings
from worker.compilation_cache import CompilationCache, open_cache
from worker.devices import Device
from worker.first_layers import PREPARED, FirstLayers, find_first_layers
from worker.gpu_memory import limit_gpu_memory
from worker.gpu_probe import try_operation
from worker.half_precision import with_half_precision
from worker.model_allowlist import Inspection, ModelError, inspect_model
from worker.model_loader import load, one_line
from worker.model_shapes import LoadedModel
from worker.output_kind import RAW_SCORES, ActivationAdvice, activation_advice, last_operation, state_changes
from worker.precision import check_choice, check_precision
from worker.preprocessing import check_preprocess, preprocessor
from worker.tensorflow_compat import FrozenGraph, Pixels, Scores, compiled_runner, freeze, session_runner

logger = logging.getLogger(__name__)

MAX_BATCH_DIFFERENCE = 1e-3
"""Maximum difference of one image's scores alone and in a batch without a warning.

If the scores exceed 1, the difference is a share of the largest score."""

SAMPLES = 8
"""Number of synthetic images in one run of the check at the start. This is also a compiled size on a GPU."""

_MEMORY_ERRORS = (
    *("out of memory", "OUT_OF_MEMORY", "RESOURCE_EXHAUSTED", "ALLOC_FAILED", "Failed to allocate"),
    *("No algorithm worked", "without BLAS support", "No BLAS", "Autotuning failed", "No valid config found"),
)
"""Parts of the error messages with which TensorFlow, cuDNN, cuBLAS and XLA report a lack of GPU memory."""


@dataclass(frozen=True)
class ScoringGraph:
    """A frozen model, with its preprocessing and activation.

    `run` returns the scores, float32 [n, outputs], of inputs, uint8 [n, *shape]; `shape` is (height, width,
    channels). Several
    threads may call `run` at once. `compiles` is True if the first run of each new n compiles the graph.
    `cache` has the folder in which XLA keeps its compilations. `first_layers` shows what the model expects.
    If `is_binary`, the model has one output, and the two scores are those of the classes 0 and 1.
    """

    shape: tuple[int, int, int]
    outputs: int
    loader: str
    run: Callable[[Pixels], Scores]
    compiles: bool = False
    on_gpu: bool = False
    cache: CompilationCache | None = None
    first_layers: FirstLayers | None = None
    activation_advice: ActivationAdvice | None = None
    is_binary: bool = False

    def is_out_of_memory(self, error: Exception) -> bool:
        """Return whether a run failed because there was not enough memory for its number of inputs."""
        import tensorflow as tf

        known = isinstance(error, tf.errors.ResourceExhaustedError | MemoryError)
        return known or any(text in str(error) for text in _MEMORY_ERRORS)

    def is_device_lost(self, error: Exception) -> bool:
        """Return whether a run failed because the GPU no longer works in this process.

        After a serious error, every operation on a GPU fails, until the process ends.
        """
        if not self.on_gpu or self.is_out_of_memory(error):
            return False
        try:
            try_operation("GPU:0", xla=False)
        except Exception:  # TensorFlow raises exceptions of many types.
            return True
        return False


def open_graph(settings: Settings, inspection: Inspection, device: Device) -> ScoringGraph:
    """Load and freeze the model that the settings name, and try it with synthetic images.

    Raises:
        ModelError: the model is invalid, or does not match the settings or the device.
    """
    check_choice(settings.precision, device.kind)
    on_gpu = device.kind == "gpu"
    cache = open_cache(settings, inspection.fingerprint) if on_gpu and device.xla else None
    _prepare(settings, device)
    model = load(settings.model, inspection, settings.output)
    shape, loader = _input_shape(model, settings), model.loader
    check_preprocess(settings, shape[2])
    plain = settings.precision == "float32" and not on_gpu
    samples = _samples(shape, SAMPLES // 2 if plain else 2 * SAMPLES)
    try:
        frozen = freeze(_trace(model, shape, settings))
        run, compiles = session_runner(frozen, settings.threads, device="cpu"), False
        exact, first_layers = _score(run, samples), find_first_layers(frozen)
        is_binary = model.output_shape[1] == 1
        del model  # The frozen graph has its own copy of the weights.
        gc.collect()
        _check_scores(exact, run(samples[:1]), settings.model)
        advice = _activation_advice(settings, frozen, exact, is_binary)
        if not plain:
            run, compiles = _runner(frozen, settings, device)
            check_precision(settings.precision, device.kind, exact, _score(run, samples))
    except ModelError:
        raise
    except Exception as error:  # TensorFlow raises exceptions of many types.
        size = "×".join(map(str, shape))
        raise ModelError(f"{settings.model} fails on images of {size}: {one_line(error)}") from error
    about = (first_layers, advice, is_binary)
    return ScoringGraph(shape, exact.shape[1], loader, run, compiles, on_gpu, cache, *about)


def open_prepared(settings: Settings) -> tuple[tuple[int, int, int], Callable[[Any], Scores]]:
    """Return the shape of a model's input, and a function that scores pixels which are preprocessed already.

    With this function, one load of the model is enough for any preprocessing. It accepts float32 [n, *shape],
    and computes in float32 on the CPU.

    Raises:
        ModelError: the model is invalid, or does not match the settings.
    """
    model = load(settings.model, inspect_model(settings.model), settings.output)
    shape = _input_shape(model, settings)
    check_preprocess(settings, shape[2])
    frozen = freeze(_trace(model, shape, settings))
    prepared = replace(frozen, input=f"{PREPARED}:0")
    return shape, session_runner(prepared, settings.threads, device="cpu")


def _prepare(settings: Settings, device: Device) -> None:
    """Set the number of threads, the devices and the GPU's memory for this process.

    With float32, TensorFlow must not use TF32,
    which rounds the factors of products to 10 bits. Both settings are settings of the process.
    """
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(settings.precision == "tf32")
    with suppress(RuntimeError):  # Raised if an earlier engine of this process has used the devices.
        # All sessions of the process share this thread pool, so a session's own limit has no effect.
        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
        if device.kind == "cpu":
            tf.config.set_visible_devices([], "GPU")
    if device.kind == "gpu":
        limit_gpu_memory(settings.gpu_memory)


def _runner(
    frozen: FrozenGraph, settings: Settings, device: Device
) -> tuple[Callable[[Pixels], Scores], bool]:
    """Return a function that runs the graph in the chosen precision, and whether it compiles each size."""
    if device.kind == "cpu":
        return session_runner(frozen, settings.threads, device="cpu", precision=settings.precision), False
    if settings.precision in ("float16", "bfloat16"):
        frozen = with_half_precision(frozen, settings.precision)
    if device.xla:
        return compiled_runner(frozen), True
    return session_runner(frozen, settings.threads, device="gpu"), False


def _score(run: Callable[[Pixels], Scores], samples: Pixels) -> Scores:
    """Run the graph on `SAMPLES` images at a time."""
    return np.concatenate([run(samples[at : at + SAMPLES]) for at in range(0, len(samples), SAMPLES)])


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


def _trace(model: LoadedModel, shape: tuple[int, int, int], settings: Settings) -> Any:
    """Trace preprocessing, model and activation into one concrete TensorFlow function."""
    import tensorflow as tf

    preprocess = preprocessor(settings)
    activate = {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid, "none": tf.identity}[settings.activation]
    if settings.activation == "softmax" and model.output_shape[1] == 1:
        raise ModelError(
            "INFERENCE_ACTIVATION: expected none or sigmoid for a model with one output, got softmax. Set"
            " it to sigmoid if the output is a logit."
        )

    @tf.function(input_signature=[tf.TensorSpec([None, *shape], tf.uint8)])  # type: ignore[untyped-decorator]
    def scores(pixels: Any) -> Any:
        prepared = tf.identity(preprocess(tf.cast(pixels, tf.float32)), name=PREPARED)
        answer = activate(tf.identity(tf.cast(model.call(prepared), tf.float32), name=RAW_SCORES))
        # One score is the probability of the second class, as Keras orders the labels 0 and 1.
        return tf.concat([1 - answer, answer], 1) if model.output_shape[1] == 1 else answer

    function = scores.get_concrete_function()
    if changing := state_changes(function.graph.as_graph_def()):
        raise ModelError(_training_refusal(settings.model, changing))
    return function


def _training_refusal(path: Path, layers: Sequence[str]) -> str:
    listed = ", ".join(layers[:5]) + (" and others" if len(layers) > 5 else "")
    return (
        f"{path}: expected a model for inference, got layers in training mode, whose scores depend on the"
        f" other images or on chance: {listed}. `model.export` of Keras 3 can export random augmentation,"
        " Resizing and the layers after them in this way. Use the .keras file of the model instead"
    )


def _samples(shape: tuple[int, int, int], count: int) -> Pixels:
    """Return smooth synthetic images, uint8 [count, height, width, channels].

    Every call returns the same images.
    """
    height, width, channels = shape
    size = (width, height)
    noise = np.random.default_rng(0).integers(0, 256, (count, channels, 6, 6), np.uint8)
    planes = [[Image.fromarray(c).resize(size, Image.Resampling.BICUBIC) for c in each] for each in noise]
    return np.array([np.stack([np.asarray(plane) for plane in each], -1) for each in planes], np.uint8)


def _check_scores(scores: Scores, alone: Scores, model: Path) -> None:
    """Check that scores are finite, and that an image has the same scores alone and with other images."""
    if not np.isfinite(scores).all():
        raise ModelError(f"{model} returns scores that are not finite numbers: its weights are damaged")
    if (difference := float(np.abs(scores[:1] - alone).max())) > MAX_BATCH_DIFFERENCE * max(
        1, np.abs(alone).max()
    ):
        logger.warning(
            "the scores of one image differ by up to %.3g with other images in the batch: the model was"
            " probably exported in training mode. Export it again for inference, or use its .keras file",
            difference,
        )


def _activation_advice(
    settings: Settings, frozen: FrozenGraph, scores: Scores, is_binary: bool
) -> ActivationAdvice | None:
    """Return and log the advice about INFERENCE_ACTIVATION, if there is any."""
    advice = activation_advice(settings.activation, last_operation(frozen), scores, is_binary=is_binary)
    if advice:
        hint = ", or sigmoid for independent classes" if advice.name == "softmax" else ""
        logger.warning("%s: set INFERENCE_ACTIVATION=%s%s", advice.reason, advice.name, hint)
    return advice
