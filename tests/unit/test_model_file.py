"""Descriptions of old and unusual model files."""

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cli.check.model_file import read_model_file
from worker.model_allowlist import ModelError

DENSE = {"class_name": "Dense", "config": {"name": "dense_1", "activation": "softmax"}}
FLATTEN = {"class_name": "Flatten", "config": {"name": "flatten_1"}}


def h5(path: Path, config: Any, version: str = "2.2.4-tf") -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = version.encode()
        weights = file.create_group("model_weights/dense_1")
        weights["kernel:0"], weights["bias:0"] = np.zeros((4, 3)), np.zeros(3)
        file["optimizer_weights/m"] = np.zeros((4, 3))
    return path


@pytest.mark.parametrize("layers", [[FLATTEN, DENSE], {"name": "model", "layers": [FLATTEN, DENSE]}])
def test_an_old_sequential_model_is_read(layers: Any, tmp_path: Path) -> None:
    found = read_model_file(h5(tmp_path / "model.h5", {"class_name": "Sequential", "config": layers}))
    assert found.saved_by == "Keras 2.2.4, as part of TensorFlow 2 (tf.keras)"
    assert (dict(found.kinds), found.parameters) == ({"Flatten": 1, "Dense": 1}, 15)
    assert found.activation == "softmax"


@pytest.mark.parametrize(
    ("last", "activation"),
    [
        ({"class_name": "Dense", "config": {"activation": "linear"}}, "linear"),
        ({"class_name": "Softmax", "config": {}}, "softmax"),
        ({"class_name": "Activation", "config": {"activation": "sigmoid"}}, "sigmoid"),
        (
            {"class_name": "Dense", "config": {"activation": {"class_name": "function", "config": "gelu"}}},
            "gelu",
        ),
        ({"class_name": "Reshape", "config": {}}, "softmax"),
    ],
)
def test_the_last_activation_of_a_model(last: Any, activation: str, tmp_path: Path) -> None:
    config = {"class_name": "Sequential", "config": {"layers": [FLATTEN, DENSE, last]}}
    assert read_model_file(h5(tmp_path / "model.h5", config)).activation == activation


def test_a_file_without_weights_still_shows_its_layers(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": [DENSE]}))
        archive.writestr("metadata.json", '{"keras_version": "3.1.0"}')
    found = read_model_file(tmp_path / "model.keras")
    assert (found.saved_by, found.parameters, len(found.layers)) == ("Keras 3.1.0", None, 1)


@pytest.mark.parametrize("config", [[], "text", {"config": {"layers": ["a"]}}, {"config": {"layers": [{}]}}])
def test_an_unknown_architecture_is_reported(config: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a Keras architecture, got"):
        read_model_file(h5(tmp_path / "model.h5", config))
