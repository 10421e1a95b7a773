"""Checks that a model gives nearly the same answers with bfloat16 as with float32."""

import logging
from contextlib import suppress
from pathlib import Path

import numpy as np

from worker.model_allowlist import ModelError
from worker.tensorflow_compat import Scores

logger = logging.getLogger(__name__)


def check_precision(exact: Scores, reduced: Scores) -> None:
    """Compare the scores of the same images in float32 and in bfloat16.

    Raises:
        ModelError: scores differ by more than 0.1, or more than 10 % of the images get another best class.
    """
    if not has_bfloat16():
        logger.warning("this processor has no bfloat16 instructions: bfloat16 may be no faster than float32")
    difference = float(np.abs(exact - reduced).max())
    # Another best class in bfloat16 counts as the same if both classes have almost equal float32 scores.
    chosen = exact[np.arange(len(exact)), reduced.argmax(1)]
    same = 100 * float((chosen >= exact.max(1) - 0.01).mean())
    found = f"scores differ by up to {difference:.4f}, {same:.0f} % of the top answers are the same"
    logger.info("bfloat16 compared with float32 on synthetic images: %s", found)
    if not (difference <= 0.1 and same >= 90):
        raise ModelError(f"INFERENCE_PRECISION=bfloat16 changes this model's answers: {found}. Use float32.")


def has_bfloat16() -> bool:
    """Return whether /proc/cpuinfo lists bfloat16 instructions.

    Returns True if the file can't be read.
    """
    with suppress(OSError):
        return "bf16" in Path("/proc/cpuinfo").read_text()
    return True
