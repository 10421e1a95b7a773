"""Checks that a precision is supported, and that a model's answers are nearly the same as with float32."""

import logging

import numpy as np

from worker.model_allowlist import ModelError
from worker.processor import has_bfloat16
from worker.tensorflow_compat import Scores

logger = logging.getLogger(__name__)

PRECISIONS = {"cpu": ("float32", "bfloat16"), "gpu": ("float32", "tf32", "float16", "bfloat16")}
"""The supported values of INFERENCE_PRECISION for each kind of device."""

MAX_FLOAT32_DIFFERENCE = 1e-4
"""Maximum difference between a GPU's float32 scores and a CPU's float32 scores without a warning."""


def check_choice(precision: str, device_kind: str) -> None:
    """Check that a kind of device, 'cpu' or 'gpu', supports a precision.

    Raises:
        ModelError: the precision is not supported.
    """
    if precision not in PRECISIONS[device_kind]:
        raise ModelError(
            f"INFERENCE_PRECISION: expected {' or '.join(PRECISIONS[device_kind])} on a"
            f" {device_kind.upper()}, got {precision}. Set it to float32, or run the model on a GPU."
        )


def check_precision(precision: str, device_kind: str, exact: Scores, found: Scores) -> None:
    """Compare the float32 scores of a CPU with the scores of the same images in the chosen precision.

    Raises:
        ModelError: scores differ by more than 0.1, or more than 10 % of the images get another best class.
    """
    if (precision, device_kind) == ("bfloat16", "cpu") and not has_bfloat16():
        logger.warning("this processor has no bfloat16 instructions: bfloat16 may be no faster than float32")
    difference = float(np.abs(exact - found).max())
    # Another best class counts as the same if both classes have almost equal float32 scores.
    chosen = exact[np.arange(len(exact)), found.argmax(1)]
    same = 100 * float((chosen >= exact.max(1) - 0.01).mean())
    result = f"scores differ by up to {difference:.2g}, {same:.0f} % of the top answers are the same"
    logger.info("%s compared with float32 on a CPU, on synthetic images: %s", precision, result)
    if not (difference <= 0.1 and same >= 90):
        raise ModelError(_refusal(precision, result))
    if precision == "float32" and difference > MAX_FLOAT32_DIFFERENCE:
        logger.warning("the scores of the GPU and of a CPU differ by more than %g", MAX_FLOAT32_DIFFERENCE)


def _refusal(precision: str, result: str) -> str:
    if precision == "float32":
        return f"the GPU computes other scores than a CPU: {result}. Set INFERENCE_DEVICE=cpu."
    return f"INFERENCE_PRECISION={precision} changes this model's answers: {result}. Use float32."
