"""Which preprocessing a model was trained with, as far as its layers tell."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cli.check.model_file import INPUTS, Layer
from worker.engine import preprocessor

AS_IT_IS = "efficientnet"
"""A module whose `preprocess_input` leaves pixels as they are, as its models have the step within."""

TELLTALES = {
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
"""A layer that an application of Keras alone has, by its name there, and the module; the first that fits."""

_CALCULATIONS = ("TFOpLambda", "TensorFlowOpLayer", "TrueDivide", "Divide", "Multiply", "Subtract")


@dataclass(frozen=True)
class Guess:
    """A module of tf.keras.applications, and what speaks for it."""

    name: str
    reason: str


def guess(layers: Sequence[Layer]) -> Guess | None:
    """The preprocessing that the layers ask for, or None where they tell nothing."""
    first = [layer for layer in layers if layer.kind not in (*INPUTS, "Functional", "Model", "Sequential")][
        :4
    ]
    for layer in first:
        if layer.kind in ("Rescaling", "Normalization"):
            return Guess(AS_IT_IS, f"its layer {layer.name} ({layer.kind}) takes pixels from 0 to 255")
        if layer.kind in _CALCULATIONS:
            return Guess(AS_IT_IS, f"its layer {layer.name} calculates on the pixels before all others")
    names = {layer.name for layer in layers}
    for telltale, module in TELLTALES.items():
        if telltale in names:
            return Guess(module, f"it has the layers of Keras' {module} ({telltale})")
    return None


def same_effect(one: str, other: str) -> bool:
    """Whether two modules' `preprocess_input` give the same numbers, as many do."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype(np.float32)
    return bool(np.allclose(preprocessor(one)(pixels.copy()), preprocessor(other)(pixels.copy()), atol=1e-4))


def effect(name: str) -> str:
    """What a module does to pixels, in words."""
    for known, words in _EFFECTS.items():
        if same_effect(name, known):
            return words
    return "of its own kind"


_EFFECTS = {
    "inception_v3": "scales pixels to -1 … 1",
    "resnet50": "takes ImageNet's mean off, and turns RGB to BGR",
    "densenet": "scales pixels by ImageNet's mean and deviation",
    "efficientnet": "leaves pixels as they are",
}
