"""Layers of common packages (efficientnet, keras-efficientnets, segmentation-models …) without their code.

In inference, most of these layers return their input unchanged. `model_allowlist.json` lists the names.
"""

from typing import Any

from worker.model_allowlist import KNOWN_LAYERS


def known_layers(library: Any) -> dict[str, Any]:
    """Return a class for each name in `KNOWN_LAYERS`; `library` is keras or tf_keras."""

    class Identity(library.layers.Layer):  # type: ignore[misc]
        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return cls(name=config.get("name"))

        def call(self, inputs: Any) -> Any:
            return inputs

    class Swish(Identity):
        def call(self, inputs: Any) -> Any:
            return library.activations.swish(inputs)

    class Zeros(library.initializers.Zeros):  # type: ignore[misc]
        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return cls()

    kinds = {"identity": Identity, "swish": Swish, "zeros": Zeros}
    found = {name: kinds[kind] for name, kind in KNOWN_LAYERS.items()}
    return found | {f"Custom>{name}": each for name, each in found.items()}
