"""How many outputs a model has, without building the engine."""

from pathlib import Path

from worker.model_allowlist import inspect_model


def count_outputs(model: Path) -> int | None:
    """The number of scores that the model gives; None if only a run would tell.

    Raises:
        ModelError: the model can't be served.
    """
    inspection = inspect_model(model)
    from worker.model_loader import load  # brings tensorflow

    return load(model, inspection).output_shape[1]
