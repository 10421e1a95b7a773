"""Guesses the preprocessing with which a model was trained, from the model's own first layers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from shared.settings import Settings
from worker.first_layers import FirstLayers
from worker.preprocessing import fits, preprocessor

KNOWN_LAYERS = {
    "conv_7b_bn": "inception_resnet_v2",
    "mixed10": "inception_v3",
    "block14_sepconv2": "xception",
    "block5_conv4": "vgg19",
    "block5_conv3": "vgg16",
    "post_bn": "resnet_v2",
    "conv5_block16_concat": "densenet",
    "conv5_block3_out": "resnet50",
    "res5c_branch2c": "resnet50",
    "conv_pw_13": "mobilenet",
    "block_16_project": "mobilenet_v2",
    "normal_conv_1_12": "nasnet",
}
"""Names of layers, and the module of tf.keras.applications whose models have such a layer.

If a model has several of these layers, the first layer in this table decides.
"""

_EFFECTS = {
    "unit": "scales pixels to 0 … 1",
    "none": "leaves pixels unchanged",
    "inception_v3": "scales pixels to -1 … 1",
    "resnet50": "subtracts ImageNet's mean and swaps RGB to BGR",
    "densenet": "scales pixels by ImageNet's mean and deviation",
}

DISTINCT = tuple(_EFFECTS)
"""Values of INFERENCE_PREPROCESS with different effects; a test checks that no other effect exists."""

_RANGES = {"none": (0.0, 127.5, 255.0), "unit": (0.0, 0.5, 1.0), "inception_v3": (-1.0, 0.0, 1.0)}
"""The smallest, middle and largest value that a preprocessing passes to the model."""


@dataclass(frozen=True)
class Guess:
    """The probable preprocessing, as a value of INFERENCE_PREPROCESS, and the reason for this guess.

    If `is_certain` is False, the model has the layers of one of Keras' models. Most of these models are
    trained with the preprocessing of their module, but the file does not show it.
    """

    name: str
    reason: str
    is_certain: bool


def guess(first: FirstLayers | None) -> Guess | None:
    """Return the preprocessing that the model's layers need. If the layers do not show it, return None."""
    points = sorted(set(chain(*_RANGES.values())))
    found = first.values(points) if first else None
    if first is None or found is None:
        # A part that was not examined may scale the pixels, so the names of layers show nothing.
        return None
    if np.allclose(found, points, rtol=1e-3, atol=1e-5):
        return _application(first)
    return _by_range(dict(zip(points, found, strict=True)))


def _by_range(values: dict[float, float]) -> Guess | None:
    """Guess the range of pixels that the first layers turn into the usual range of a model's inputs."""
    spans = _spans(values)
    usual = [name for name, span in spans.items() if _is_usual(*span)]
    names = usual or _normalized(spans, has_mean=abs(values[0.0]) > 1e-4)
    return _scaled(names[0], *spans[names[0]]) if len(names) == 1 else None


def _spans(values: dict[float, float]) -> dict[str, tuple[float, float]]:
    """Return the range that each range of pixels is turned into, if this is done by a linear function."""
    outputs = {name: [values[point] for point in points] for name, points in _RANGES.items()}
    return {name: (min(each), max(each)) for name, each in outputs.items() if _is_linear(*each)}


def _scaled(name: str, first: float, last: float) -> Guess:
    low, _, high = _RANGES[name]
    reason = f"the model's first layers turn {low:g} … {high:g} into {first:.3g} … {last:.3g}"
    return Guess(name, reason, is_certain=True)


def _is_linear(low: float, middle: float, high: float) -> bool:
    return bool(np.isclose(middle, (low + high) / 2, rtol=1e-2, atol=1e-3))


def _is_usual(low: float, high: float) -> bool:
    """Return whether a model's input has a usual range, such as 0 to 1, -1 to 1 or 0 to 255."""
    small = any(np.allclose((low, high), each, atol=0.02) for each in ((0, 1), (-1, 1), (-0.5, 0.5)))
    large = np.isclose(high - low, 255, rtol=0.01) and (abs(low) < 0.1 or -135 <= low <= -90)
    return bool(small or large)


def _normalized(spans: Mapping[str, tuple[float, float]], *, has_mean: bool) -> list[str]:
    """Return the ranges that may be divided by a standard deviation, after the mean was subtracted.

    In units of the whole range, an image set's mean is from .1 to .7 and its deviation from .15 to .4. A
    factor below 1/10 shows in any case that the pixels were from 0 to 255.
    """

    def fits(name: str, low: float, high: float) -> bool:
        span = high - low
        if name == "none":
            return 0.5 <= span <= 20 and low >= -10
        return has_mean and 2.5 <= span <= 1 / 0.15 and 0.1 <= -low / span <= 0.7

    return [name for name, span in spans.items() if fits(name, *span)]


def _application(first: FirstLayers) -> Guess | None:
    """Return the preprocessing of the model of tf.keras.applications that has layers of these names."""
    # When a layer is used again, the graph has its name with a number.
    present = {form for each in first.names for form in (each, each.rpartition("_")[0])}
    known = next(filter(present.__contains__, KNOWN_LAYERS), None)
    if known is None or not fits(Settings(preprocess=KNOWN_LAYERS[known]), first.shape[2]):
        return None
    reason = f"the model has the layer {known} of Keras' {KNOWN_LAYERS[known]}"
    return Guess(KNOWN_LAYERS[known], reason, is_certain=False)


def same_effect(one: str, other: str) -> bool:
    """Return whether two values of INFERENCE_PREPROCESS preprocess pixels in the same way."""
    if "normalize" in (one, other):
        return one == other
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype(np.float32)
    first, second = (_preprocessor(name)(pixels.copy()) for name in (one, other))
    return bool(np.allclose(first, second, atol=1e-4))


def effect(name: str) -> str:
    """Describe how a preprocessing changes pixels."""
    if name == "normalize":
        return "scales pixels by INFERENCE_MEAN and INFERENCE_STD"
    return next(
        (text for known, text in _EFFECTS.items() if same_effect(name, known)),
        "changes pixels in another way",
    )


def default_warning(settings: Settings, first: FirstLayers | None) -> str | None:
    """Return a warning if INFERENCE_PREPROCESS is not set and the model does not show that the default fits.

    The caller calls this function only if the variable is not set.
    """
    found = guess(first)
    default = f"INFERENCE_PREPROCESS is not set: the worker uses {settings.preprocess}"
    if found is None:
        return (
            f"{default}, and the model file does not show whether it was trained with it. Set"
            " INFERENCE_PREPROCESS to the training's preprocessing, for example unit for pixels / 255."
            " `classification-server check FOLDER` finds it with labelled images."
        )
    if same_effect(found.name, settings.preprocess):
        return None
    return f"{default}, but {found.reason}. Set INFERENCE_PREPROCESS={found.name}."


def _preprocessor(name: str) -> Callable[[np.ndarray], np.ndarray]:
    return preprocessor(Settings(preprocess=name))
