"""Guesses a model's preprocessing from the model's layers.

The right preprocessing is the one with which the model was trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cli.check.model_file import INPUTS, MODELS, Layer
from worker.tf_graph import preprocessor

IDENTITY = "efficientnet"
"""A module of tf.keras.applications whose function `preprocess_input` does not change the pixels.

The models of this module preprocess the pixels in their first layers.
"""

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

_CALCULATIONS = ("TFOpLambda", "TensorFlowOpLayer", "TrueDivide", "Divide", "Multiply", "Subtract")

_EFFECTS = {
    "inception_v3": "scales pixels to -1 … 1",
    "resnet50": "subtracts ImageNet's mean and swaps RGB to BGR",
    "densenet": "scales pixels by ImageNet's mean and deviation",
    "efficientnet": "leaves pixels unchanged",
}


@dataclass(frozen=True)
class Guess:
    """The probable preprocessing, as a module of tf.keras.applications, and the reason for this guess."""

    name: str
    reason: str


def guess(layers: Sequence[Layer]) -> Guess | None:
    """Return the preprocessing that the model's layers need. If the layers do not show it, return None."""
    for layer in [layer for layer in layers if layer.kind not in (*INPUTS, *MODELS)][:4]:
        if layer.kind in ("Rescaling", "Normalization"):
            return Guess(
                IDENTITY, f"the model's layer {layer.name} ({layer.kind}) expects pixels from 0 to 255"
            )
        if layer.kind in _CALCULATIONS:
            return Guess(
                IDENTITY, f"the model's layer {layer.name} changes the pixels before all other layers"
            )
    names = {layer.name for layer in layers}
    known = next(filter(names.__contains__, KNOWN_LAYERS), None)
    return (
        Guess(KNOWN_LAYERS[known], f"the model has the layer {known} of Keras' {KNOWN_LAYERS[known]}")
        if known
        else None
    )


def same_effect(one: str, other: str) -> bool:
    """Return whether two modules of tf.keras.applications preprocess pixels in the same way."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype(np.float32)
    return bool(np.allclose(preprocessor(one)(pixels.copy()), preprocessor(other)(pixels.copy()), atol=1e-4))


def effect(name: str) -> str:
    """Describe how `preprocess_input` of a tf.keras.applications module changes pixels."""
    return next(
        (text for known, text in _EFFECTS.items() if same_effect(name, known)),
        "changes pixels in another way",
    )
