"""Inspection, loading and the frozen engine, on real model files of both Keras generations."""

import dataclasses
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import demo
from shared.settings import PREPROCESS_NAMES, Settings
from tests.models import Maker
from worker.engine import Engine
from worker.model_allowlist import ModelError, inspect_model
from worker.preprocessing import named_preprocessor
from worker.run_plan import run_sizes
from worker.warm_up import warm_up

GetModel = Callable[[str, str, str], Path]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GetModel]:
    folder, made, makers = tmp_path_factory.mktemp("models"), dict[str, Path](), dict[str, Maker]()

    def get(library: str, name: str, ending: str = "h5") -> Path:
        key = f"{library}-{name}.{ending}".replace(" ", "-")
        if key not in made:
            if library not in makers:
                makers[library] = Maker(library)
            made[key] = makers[library].make(name, folder / key)
        return made[key]

    yield get
    for each in makers.values():
        each.close()


def build(path: Path, **changes: object) -> Engine:
    return Engine.build(dataclasses.replace(Settings(), model=path, **changes))  # type: ignore[arg-type]


def expected(path: Path) -> tuple[np.ndarray, np.ndarray]:
    saved = np.load(f"{path}.npz")
    return saved["pixels"], saved["wanted"]


# -------------------------------------------------------------------- the same answers as Keras by itself


def assert_same_answers(engine: Engine, pixels: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    for count in (1, 2, 3, 5, 8, 13, 31, 32, 33, 64, 70):
        assert np.abs(engine.run(pixels[:count]) - wanted[:count]).max() <= tolerance, count
    random = np.random.default_rng(0)
    for count in (1, 7, 32, 70):  # Neighbours are mixed, and images repeat.
        mix = random.integers(0, len(pixels), count)
        assert np.abs(engine.run(pixels[mix]) - wanted[mix]).max() <= tolerance, mix


@pytest.mark.parametrize("name", ["mobilenet", "inception"])
@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_answers_are_those_of_predict(model: GetModel, library: str, name: str) -> None:
    path = model(library, name, "h5")
    pixels, wanted = expected(path)
    assert_same_answers(build(path), pixels, wanted, 1e-3)


def test_the_demos_answers_are_those_of_predict() -> None:
    import keras

    pixels = np.random.default_rng(1).integers(0, 256, (70, 32, 32, 3), np.uint8)
    network = keras.models.load_model(demo.MODEL, compile=False)
    wanted = network.predict(
        keras.applications.inception_v3.preprocess_input(pixels.astype("float32")), verbose=0
    )
    assert_same_answers(build(demo.MODEL), pixels, wanted, 1e-4)


@pytest.mark.parametrize(
    ("library", "ending", "loader"),
    [
        pytest.param("keras", "keras", "keras", id="Keras 3's own"),
        pytest.param("keras", "hdf5", "keras", id="hdf5"),
        pytest.param("keras", "saved", "savedmodel", id="SavedModel of Keras 3"),
        pytest.param("tf_keras", "saved", "savedmodel", id="SavedModel of tf_keras"),
    ],
)
def test_every_form_is_supported(model: GetModel, library: str, ending: str, loader: str) -> None:
    path = model(library, "grey", ending)
    engine = build(path)
    pixels, wanted = expected(path)
    assert (engine.graph.loader, engine.graph.shape[2], engine.graph.outputs) == (loader, 1, 5)
    assert np.abs(engine.run(pixels) - wanted).max() <= 1e-4


def test_a_file_that_keras_3_can_not_read_is_read_by_tf_keras(model: GetModel) -> None:
    path = model("tf_keras", "xception", "h5")
    engine = build(path)
    pixels, wanted = expected(path)
    assert engine.graph.loader == "tf_keras"
    assert np.abs(engine.run(pixels) - wanted).max() <= 1e-3


def test_a_file_of_any_name_is_supported(model: GetModel, tmp_path: Path) -> None:
    for ending in ("h5", "keras"):
        path = tmp_path / f"mounted-{ending}"
        path.symlink_to(model("keras", "grey", ending))
        assert build(path).graph.outputs == 5


# -------------------------------------------------------------------- preprocessing and settings


@pytest.mark.parametrize("name", PREPROCESS_NAMES)
def test_preprocessing_is_keras_own(model: GetModel, name: str) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (4, 16, 16, 3), np.uint8)
    wanted = getattr(tf.keras.applications, name).preprocess_input(pixels.astype(np.float32))
    found = tf.function(named_preprocessor(name))(tf.constant(pixels, tf.float32))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
    assert build(model("keras", "sigmoid", "h5"), preprocess=name).run(pixels[:, :8, :8]).shape == (4, 5)


def test_every_preprocessing_of_keras_is_a_setting() -> None:
    modules = [
        each
        for each in dir(tf.keras.applications)
        if hasattr(getattr(tf.keras.applications, each), "preprocess_input")
    ]
    assert tuple(modules) == PREPROCESS_NAMES


def test_preprocessing_for_colour_does_not_fit_a_grey_model(model: GetModel) -> None:
    with pytest.raises(
        ModelError,
        match=r"INFERENCE_PREPROCESS: expected a name for images of 1 channels, got vgg16.*inception_v3",
    ):
        build(model("keras", "grey", "h5"), preprocess="vgg16")


def test_logits_are_reported_and_softmax_is_applied_when_it_is_set(
    model: GetModel, caplog: pytest.LogCaptureFixture
) -> None:
    path = model("keras", "logits", "h5")
    pixels, wanted = expected(path)
    assert np.abs(build(path).run(pixels) - wanted).max() <= 1e-4
    assert "INFERENCE_ACTIVATION=softmax" in caplog.text
    caplog.clear()
    exponents = np.exp(wanted - wanted.max(1, keepdims=True))
    softmax = exponents / exponents.sum(1, keepdims=True)
    assert np.abs(build(path, activation="softmax").run(pixels) - softmax).max() <= 1e-4
    assert "INFERENCE_ACTIVATION" not in caplog.text


def test_independent_probabilities_are_not_called_logits(
    model: GetModel, caplog: pytest.LogCaptureFixture
) -> None:
    build(model("keras", "sigmoid", "h5"))
    assert "INFERENCE_ACTIVATION" not in caplog.text


def test_the_input_size_is_the_models_or_the_settings(model: GetModel) -> None:
    path = model("keras", "open", "h5")
    engine = build(path)
    assert engine.graph.shape == (299, 299, 3)
    engine = build(path, input_height=24, input_width=24)
    pixels, wanted = expected(path)
    assert np.abs(engine.run(pixels) - wanted).max() <= 1e-4


def test_a_setting_that_contradicts_the_model_names_both_numbers() -> None:
    with pytest.raises(ModelError, match="INPUT_HEIGHT: expected the model's 32, got 299"):
        build(demo.MODEL, input_height=299)


@pytest.mark.parametrize(
    ("maximum", "wanted"), [(1, (1,)), (5, (1, 2, 3, 4, 5)), (32, (1, 2, 3, 4, 6, 8, 12, 16, 24, 32))]
)
def test_batches_are_padded_to_few_sizes(maximum: int, wanted: tuple[int, ...]) -> None:
    assert run_sizes(maximum) == wanted


def test_warming_up_measures_a_full_batch() -> None:
    engine = build(demo.MODEL, input_batch=4)
    warm_up(engine)
    assert 1 < engine.plan.inputs_per_second() < 1e6


# -------------------------------------------------------------------- what is refused, before it is loaded


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_code_in_a_model_file_is_refused_and_not_run(model: GetModel, library: str) -> None:
    path = model(library, "lambda", "h5")
    ran = Path(f"{path}.ran")
    ran.unlink(missing_ok=True)  # Saving the model has run the code.
    with pytest.raises(ModelError, match="Lambda layer"):
        build(path)
    assert not ran.exists()


def test_the_lambda_would_run_if_it_were_loaded(model: GetModel) -> None:
    """Prove that the test above can fail."""
    import tf_keras

    path = model("tf_keras", "lambda", "h5")
    tf_keras.models.load_model(path, compile=False, safe_mode=False)
    assert Path(f"{path}.ran").exists()


@pytest.mark.parametrize(
    ("library", "name", "ending", "words"),
    [
        pytest.param("tf_keras", "wrapped lambda", "h5", "Lambda layer", id="Lambda in a wrapper"),
        pytest.param("keras", "lambda", "keras", "Lambda layer", id="Lambda in .keras"),
        pytest.param("tf_keras", "custom", "h5", "Mine", id="custom layer"),
        pytest.param("keras", "custom", "keras", "Mine", id="custom layer in .keras"),
        pytest.param("keras", "grey", "weights.h5", "only weights.*model.save", id="weights of Keras 3"),
        pytest.param("tf_keras", "grey", "weights.h5", "only weights.*model.save", id="weights of tf_keras"),
        pytest.param(
            "keras",
            "two outputs",
            "h5",
            "INFERENCE_OUTPUT: expected the name or the index .* got nothing",
            id="two outputs",
        ),
        pytest.param("keras", "vector", "h5", "input of shape", id="no images"),
        pytest.param("keras", "image", "h5", "output of shape", id="no scores"),
    ],
)
def test_unsupported_models_are_refused(
    model: GetModel, library: str, name: str, ending: str, words: str
) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        build(model(library, name, ending))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "not an HDF5 file: it is empty", id="empty"),
        pytest.param(b"<!DOCTYPE html>", "web page", id="web page"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull", id="Git LFS pointer"),
        pytest.param(b"\x89HDF\r\n\x1a\n" + bytes(200), "damaged HDF5", id="damaged"),
        pytest.param(b"anything", "no HDF5 signature", id="other"),
    ],
)
def test_files_of_another_type_are_reported_with_their_type(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words):
        inspect_model(path)


def test_missing_files_and_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no file"):
        inspect_model(tmp_path / "none.h5")
    with pytest.raises(ModelError, match=r"no saved_model\.pb"):
        inspect_model(tmp_path)


def test_a_zip_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.h5", "w") as archive:
        archive.writestr("photo.txt", "x")
    with pytest.raises(ModelError, match="not a Keras model"):
        inspect_model(tmp_path / "model.h5")


@pytest.mark.parametrize(
    "layer",
    [
        {"class_name": "get_file", "module": "keras.utils", "config": {}},
        {"class_name": "system", "module": "os", "config": {}},
        {"class_name": "__lambda__", "config": {"value": "..."}},
        {"class_name": "Dense", "module": "keras.layers", "registered_name": "Evil>Dense"},
    ],
)
def test_a_configuration_that_names_functions_is_refused(tmp_path: Path, layer: dict[str, object]) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr(
            "config.json", json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}})
        )
        archive.writestr("metadata.json", "{}")
    with pytest.raises(ModelError):
        inspect_model(tmp_path / "model.keras")


def test_the_fingerprint_is_that_of_the_bytes(model: GetModel, tmp_path: Path) -> None:
    found = inspect_model(demo.MODEL)
    assert found.format == "h5" and len(found.fingerprint) == 64 and "Dense" in found.layers
    copy = tmp_path / "copy.h5"
    copy.write_bytes(demo.MODEL.read_bytes())
    assert inspect_model(copy).fingerprint == found.fingerprint
