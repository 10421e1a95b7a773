"""Counts a model's outputs without building the engine."""

from pathlib import Path

from shared.settings import Settings
from worker.model_allowlist import inspect_model


def count_outputs(model: Path) -> int | None:
    """Return the number of scores in a model's output.

    If the model does not specify this number, the function returns None.

    Raises:
        ModelError: the model is not supported.
    """
    inspection = inspect_model(model)
    from worker.model_loader import load  # imports TensorFlow

    outputs = load(model, inspection, Settings.from_environ().output).output_shape[1]
    return 2 if outputs == 1 else outputs
