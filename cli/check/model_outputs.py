"""The number of a model's outputs, without building the engine."""

from pathlib import Path

from worker.model_allowlist import inspect_model


def count_outputs(model: Path) -> int | None:
    """The number of scores that the model gives; None if only running the model would show it.

    Raises:
        ModelError: the model is not supported.
    """
    inspection = inspect_model(model)
    from worker.model_loader import load  # imports TensorFlow

    return load(model, inspection).output_shape[1]
