"""Inspection and loader on files of Keras and tf_keras, and on hostile files whose code they would run."""

import inspect as python
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_keras.src.utils.generic_utils import func_dump

from worker.model_allowlist import ALLOWED_CLASSES, ModelError, inspect_model
from worker.model_loader import LoadedModel, load

KERASES = [pytest.param(keras, id="keras"), pytest.param(tf_keras, id="tf_keras")]

# Layers that hold code, load a file that they name, or take no pixels.
NOT_SERVED = """
    AbstractRNNCell DenseFeatures FlaxLayer HashedCrossing Hashing IntegerLookup JaxLayer Lambda Layer
    StringLookup TFSMLayer TextVectorization TorchModuleWrapper Wrapper
"""


def open_model(path: Path) -> LoadedModel:
    return load(path, inspect_model(path))


def answers(model: LoadedModel, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(tf.function(model.call)(tf.constant(pixels)))


PIXELS = np.random.default_rng(0).random((3, 8, 8, 3), np.float32)


@pytest.mark.parametrize("library", KERASES)
def test_each_layer_of_keras_is_allowed_or_excluded_on_purpose(library: Any) -> None:
    classes = [each for each in vars(library.layers).values() if python.isclass(each)]
    names = {each.__name__ for each in classes if issubclass(each, library.layers.Layer)}
    assert names - ALLOWED_CLASSES <= set(NOT_SERVED.split())


def test_what_serving_does_not_need_is_not_imported_and_can_be_later() -> None:
    program = (
        "import sys; from worker.keras_compat import NOT_FOR_SERVING, import_keras\n"
        "import_keras()\n"
        "assert 'tensorflow' in sys.modules and not sys.modules.keys() & set(NOT_FOR_SERVING); "
        "import matplotlib.pyplot, scipy.stats, sklearn.base"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


# -------------------------------------------------------------------- code in H5 files


def hostile(path: Path, *layers: Any) -> Path:
    """Write an H5 file as an attacker may, without a library that checks its layers."""
    entry = {"class_name": "InputLayer", "name": "entry", "inbound_nodes": []}
    entry["config"] = {"batch_input_shape": [None, 64, 3], "name": "entry"}
    config = {"class_name": "Functional", "config": {"name": "model", "layers": [entry, *layers]}}
    config["config"] |= {"input_layers": [["entry", 0, 0]], "output_layers": [["x", 0, 0]]}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.create_group("model_weights").attrs["layer_names"] = np.array([], "S1")
    return path


def tensorflow_function(path: Path) -> Path:
    """Write a layer that calls a function of TensorFlow with arguments from the file."""
    call = ["_CONSTANT_VALUE", -1, f"{path}.ran", {}]
    function = {"name": "x", "function": "io.gfile.makedirs"}
    return hostile(
        path, {"class_name": "TFOpLambda", "name": "x", "config": function, "inbound_nodes": [call]}
    )


def code_in_a_cell(path: Path) -> Path:
    """Write a recurrent layer whose cell's wrapper has Python code."""
    code, _, _ = func_dump(eval(f"lambda x, y: (open({str(path) + '.ran'!r}, 'w').close(), y)[1]"))
    wrapper = {"name": "w", "cell": {"class_name": "GRUCell", "config": {"units": 3}}}
    wrapper |= {"residual_fn": [code, None, None], "residual_fn_type": "lambda", "residual_fn_module": None}
    cell = {"class_name": "ResidualWrapper", "config": wrapper}
    cell["module"] = "keras.src.layers.rnn.cell_wrappers"
    node = [[["entry", 0, 0, {}]]]
    return hostile(
        path, {"class_name": "RNN", "name": "x", "config": {"name": "x", "cell": cell}, "inbound_nodes": node}
    )


@pytest.mark.parametrize("make", [tensorflow_function, code_in_a_cell])
def test_hostile_files_are_refused_and_their_code_does_not_run(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path / "model.h5")
    with pytest.raises(ModelError, match="not a layer of Keras' own"):
        open_model(path)
    assert not Path(f"{path}.ran").exists()


@pytest.mark.parametrize("make", [tensorflow_function, code_in_a_cell])
def test_the_same_files_run_when_tf_keras_loads_them(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Prove that the test above can fail."""
    path = make(tmp_path / "model.h5")
    with pytest.raises(
        (AttributeError, ValueError)
    ):  # The models are invalid, but their code has run by then.
        tf_keras.models.load_model(path, compile=False)
    assert Path(f"{path}.ran").exists()


# -------------------------------------------------------------------- what Keras and TensorFlow write


@pytest.mark.parametrize("ending", ["h5", "keras"])
@pytest.mark.parametrize("library", KERASES)
def test_layers_that_only_keras_applications_have_are_loaded(
    tmp_path: Path, library: Any, ending: str
) -> None:
    """Load the layers of ConvNeXt and InceptionResNetV2; Keras alone can't load ConvNeXt's from H5."""
    applications = library.src.applications
    entry = library.Input((8, 8, 3))
    x = applications.convnext.LayerScale(0.5, 3)(entry)
    x = applications.inception_resnet_v2.CustomScaleLayer(0.1)([entry, x])
    model = library.Model(entry, library.layers.Dense(4)(library.layers.Flatten()(x)))
    model.save(tmp_path / f"model.{ending}")
    found = open_model(tmp_path / f"model.{ending}")
    assert np.abs(answers(found, PIXELS) - model.predict(PIXELS, verbose=0)).max() <= 1e-5


@pytest.mark.parametrize(
    ("library", "ending"),
    [
        pytest.param(keras, "keras", id="keras, .keras"),
        pytest.param(tf_keras, "keras", id="tf_keras, .keras"),
        pytest.param(tf_keras, "h5", id="tf_keras, .h5"),
    ],
)
def test_calculations_between_layers_are_loaded(tmp_path: Path, library: Any, ending: str) -> None:
    entry = library.Input((8, 8, 3))
    inner = library.Sequential([library.Input((8, 8, 3)), library.layers.Conv2D(3, 3, activation="gelu")])
    inner.compile("adam", "mse")
    x = inner(entry[:, :, ::-1] / 127.5 - 1.0)
    model = library.Model(entry, library.layers.Dense(4)(library.layers.Flatten()(x)))
    model.save(tmp_path / f"model.{ending}")
    found = open_model(tmp_path / f"model.{ending}")
    assert found.loader == library.__name__
    assert np.abs(answers(found, PIXELS) - model.predict(PIXELS, verbose=0)).max() <= 1e-5


def test_a_file_that_can_not_be_loaded_is_reported_with_both_reasons(tmp_path: Path) -> None:
    entry = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(
        keras.ops.add(entry, 1.0)
    )  # H5 keeps only the name, and a layer has that name too.
    keras.Model(entry, keras.layers.Dense(4)(x)).save(tmp_path / "model.h5")
    with pytest.raises(ModelError, match=r"keras: .+; tf_keras: .+\. Save the model as \.keras") as caught:
        open_model(tmp_path / "model.h5")
    assert "\n" not in str(caught.value)


def test_a_model_with_one_score_is_loaded(tmp_path: Path) -> None:
    layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(1, activation="sigmoid")]
    keras.Sequential(layers).save(tmp_path / "model.h5")
    assert open_model(tmp_path / "model.h5").output_shape == (None, 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("KerasLayer", "KerasLayer is a layer of TensorFlow Hub: .*model.export"),
        ("PatchEncoder", "PatchEncoder is a layer of a vision transformer.*model.export"),
    ],
)
def test_a_refused_layer_is_explained(tmp_path: Path, name: str, words: str) -> None:
    layer = type(name, (keras.layers.Layer,), {"call": lambda _, x: x})()
    keras.Sequential([keras.Input((8, 8, 3)), layer, keras.layers.Flatten()]).save(tmp_path / "model.h5")
    with pytest.raises(ModelError, match=f"names {name}, which.*{words}"):
        inspect_model(tmp_path / "model.h5")


# -------------------------------------------------------------------- SavedModel


class Module(tf.Module):
    """A module as people without Keras export it."""

    def __init__(self, dtype: tf.DType, body: Callable[[Any], Any]) -> None:
        super().__init__()
        self.call = tf.function(body, input_signature=[tf.TensorSpec([None, 8, 8, 3], dtype)])

    def save(self, path: Path) -> Path:
        tf.saved_model.save(self, str(path), signatures=self.call)
        return path


def means(x: Any) -> Any:
    return tf.reduce_mean(tf.cast(x, tf.float32), [1, 2])


def decoded_means(file: Any) -> Any:
    return tf.reduce_mean(tf.cast(tf.io.decode_jpeg(file, channels=3), tf.float32), [0, 1])


@pytest.mark.parametrize("dtype", [tf.float32, tf.float16, tf.uint8], ids=str)
def test_a_saved_model_gets_pixels_of_its_declared_type(tmp_path: Path, dtype: tf.DType) -> None:
    model = open_model(Module(dtype, means).save(tmp_path / "model"))
    pixels = np.full((2, 8, 8, 3), 7, np.float32)
    assert answers(model, pixels).tolist() == [[7, 7, 7], [7, 7, 7]]


def test_a_saved_model_with_text_input_is_refused(tmp_path: Path) -> None:
    path = Module(tf.string, lambda x: tf.map_fn(decoded_means, x[:, 0, 0, 0], tf.float32)).save(
        tmp_path / "model"
    )
    with pytest.raises(ModelError, match="expected an input of numbers, got string"):
        open_model(path)


def test_a_saved_model_without_a_signature_is_refused(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "model"))
    with pytest.raises(ModelError, match="expected a SavedModel with the signature `serving_default`"):
        open_model(tmp_path / "model")
