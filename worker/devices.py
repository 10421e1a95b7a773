"""Finds the device that runs the model, or refuses to start with a reason."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """The device that runs the model.

    `kind` is 'cpu' or 'gpu'. `name` is the model of the processor or of the card. `memory_bytes` is the
    card's memory, or 0 for a CPU. `xla` is False if XLA does not work on the card. TensorFlow then runs the
    model without XLA.
    """

    kind: str
    name: str
    memory_bytes: int = 0
    xla: bool = True
