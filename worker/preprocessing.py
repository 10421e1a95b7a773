"""The preprocessing of pixels: functions that turn pixels from 0 to 255 into the values a model expects."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from shared.settings import PREPROCESS_CHOICES, Settings
from worker.model_allowlist import ModelError

Preprocessor = Callable[[Any], Any]
"""A function of pixels, float32 [n, height, width, channels] with values from 0 to 255."""


def preprocessor(settings: Settings) -> Preprocessor:
    """Return the function that the settings choose. It accepts arrays and tensors."""
    if settings.preprocess == "none":
        return lambda pixels: pixels
    if settings.preprocess == "unit":
        return lambda pixels: pixels / 255.0
    if settings.preprocess == "normalize":
        mean, std = (np.array(each or 1, np.float32) for each in (settings.mean, settings.std))
        return lambda pixels: (pixels / 255.0 - mean) / std
    return named_preprocessor(settings.preprocess)


def named_preprocessor(name: str) -> Preprocessor:
    """Return the function `preprocess_input` of Keras' module `keras.applications.NAME`."""
    import keras

    # Without this argument, the file keras.json in the user's home folder would choose the data format.
    return partial(getattr(keras.applications, name).preprocess_input, data_format="channels_last")


def normalization(settings: Settings) -> dict[str, list[float]]:
    """Return the mean and the standard deviation if the settings have them."""
    values = {"mean": settings.mean, "std": settings.std}
    return {name: list(each) for name, each in values.items() if each is not None}


def check_preprocess(settings: Settings, channels: int) -> None:
    """Check that the chosen preprocessing fits images of this number of channels.

    Raises:
        ModelError: the preprocessing, or its mean or standard deviation, is for another number of channels.
    """
    for name, values in (("INFERENCE_MEAN", settings.mean), ("INFERENCE_STD", settings.std)):
        if len(values or (0,)) not in (1, channels):
            raise ModelError(
                f"{name}: expected 1 number for images of {channels} channels, got {len(values or ())}. Set"
                " it to the number for grey images."
            )
    if not fits(settings, channels):
        others = [name for name in PREPROCESS_CHOICES if fits(replace(settings, preprocess=name), channels)]
        raise ModelError(
            f"INFERENCE_PREPROCESS: expected a name for images of {channels} channels, got"
            f" {settings.preprocess}. Set it to one of: {', '.join(others)}"
        )


def fits(settings: Settings, channels: int) -> bool:
    """Return whether the chosen preprocessing fits images of this number of channels."""
    pixels = np.zeros((1, 2, 2, channels), np.float32)
    try:
        return bool(np.shape(preprocessor(settings)(pixels)) == pixels.shape)
    except (IndexError, ValueError):
        return False
