"""Counts a model's outputs without building the engine."""

from pathlib import Path

from worker.model_allowlist import inspect_model


def count_outputs(model: Path) -> int | None:
    """Return the number of the model's scores; None if only running the model would show this number.

    Raises:
        ModelError: the model is not supported.
    """
    inspection = inspect_model(model)
    from worker.model_loader import load  # imports TensorFlow

    return load(model, inspection).output_shape[1]
