"""Reads the format and layers of a model file without TensorFlow.

The module can also read models that the service does not support.
"""

import contextlib
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from worker.model_allowlist import ModelError, read_configuration

INPUTS = ("InputLayer",)
MODELS = ("Functional", "Model", "Sequential")


@dataclass(frozen=True)
class Layer:
    """A layer of the model or of a nested model."""

    kind: str
    name: str
    config: dict[str, Any]

    @property
    def activation(self) -> str:
        """The name of the layer's activation function.

        The name is 'linear' if the layer has no activation function.
        """
        if self.kind == "Softmax":
            return "softmax"
        value = self.config.get("activation") or "linear"
        return str(value.get("config", value) if isinstance(value, dict) else value)


@dataclass(frozen=True)
class ModelFile:
    """The format, origin and layers of a model file, and the model's number of parameters.

    If the number of parameters is unknown, it is None.
    """

    form: str
    saved_by: str
    layers: tuple[Layer, ...] = ()
    parameters: int | None = None

    @property
    def activation(self) -> str | None:
        """The activation of the last layer that has an activation."""
        for layer in reversed(self.layers):
            if layer.kind == "Softmax" or "activation" in layer.config:
                return layer.activation
        return None

    @property
    def kinds(self) -> Counter[str]:
        """The number of layers of each Keras class, without input layers."""
        return Counter(layer.kind for layer in self.layers if layer.kind not in INPUTS)


def read_model_file(path: Path) -> ModelFile:
    """Read the format, origin, layers and number of parameters of a model file.

    Raises:
        ModelError: the file is missing or damaged, or contains no Keras architecture.
    """
    if path.is_dir():
        return ModelFile("a SavedModel folder", exported_by(path))
    form = "a .keras file" if zipfile.is_zipfile(path) else "an H5 file"
    text, version = read_configuration(path)
    try:
        layers = tuple(layers_of(json.loads(text)))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ModelError(
            f"{path}: expected a Keras architecture, got {type(error).__name__}: {error}"
        ) from None
    return ModelFile(form, _saved_by(version), layers, _parameters(path))


def exported_by(folder: Path) -> str:
    """Return the TensorFlow version that wrote a SavedModel.

    The version is in field 5 of the SavedModel's protobuf.
    """
    try:
        start = (folder / "saved_model.pb").read_bytes()
    except OSError:
        return "TensorFlow"
    for found in re.finditer(rb"\x2a([\x05-\x20])\d+\.\d+\.", start):
        at, length = found.end(1), found[1][0]
        return f"TensorFlow {start[at : at + length].decode('latin-1')}"
    return "TensorFlow"


def _saved_by(version: str) -> str:
    if not version:
        return "an unknown version of Keras"
    if version.endswith("-tf"):
        return f"Keras {version.removesuffix('-tf')}, as part of TensorFlow 2 (tf.keras)"
    return f"Keras {version}"


def layers_of(model: dict[str, Any]) -> Iterator[Layer]:
    """Yield the layers of a model's configuration in order, including the layers of nested models."""
    config = model.get("config", {})
    # The configuration of an old Sequential model is only a list of layers.
    for each in config if isinstance(config, list) else config.get("layers", []):
        inner = each.get("config", {})
        if each.get("class_name") in MODELS:
            yield Layer(each["class_name"], str(inner.get("name", "") if isinstance(inner, dict) else ""), {})
            yield from layers_of(each)
        else:
            yield Layer(str(each["class_name"]), str(each.get("name") or inner.get("name", "")), inner)


def _parameters(path: Path) -> int | None:
    """Return the number of the model's weights, without the optimizer's weights."""
    with contextlib.ExitStack() as stack, contextlib.suppress(KeyError, OSError, RuntimeError):
        source: Any = path
        if zipfile.is_zipfile(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            source = stack.enter_context(archive.open("model.weights.h5"))
        file = stack.enter_context(h5py.File(source, "r"))
        return _count_weights(file.get("model_weights", file))
    return None


def _count_weights(group: Any) -> int:
    total = 0

    def add(name: str, item: Any) -> None:
        nonlocal total
        parts = name.split("/")
        # Layers such as Dropout store the state of their random generator with the weights.
        if isinstance(item, h5py.Dataset) and "optimizer" not in parts[0] and "seed_generator" not in parts:
            total += item.size

    group.visititems(add)
    return total
