"""Preprocessing: the settings against Keras' own calculation, and the guess from a model's first layers."""

import dataclasses
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import demo
from shared.settings import Settings
from worker.__main__ import _preprocess_warnings
from worker.engine import Engine
from worker.first_layers import find_first_layers
from worker.model_allowlist import ModelError
from worker.model_loader import LoadedModel
from worker.preprocessing_guess import DISTINCT, Guess, default_warning, effect, guess, same_effect
from worker.tensorflow_compat import freeze
from worker.tf_graph import _trace
from worker.thresholds_file import header, provenance

MODELS = Path(__file__).parent.parent / "cases/models"
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
libraries = pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])


def small(library: Any, *first: Callable[[Any], Any], side: int = 16, channels: int = 3) -> Any:
    """A model whose first layer with weights follows the layers `first`."""
    layers = library.layers
    x = given = library.Input((side, side, channels))
    for each in first:
        x = each(x)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
    return library.Model(given, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))


# -------------------------------------------------------------------- the settings


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("changes", "formula"),
    [
        ({"preprocess": "unit"}, lambda x: x / 255),
        ({"preprocess": "none"}, lambda x: x),
        (
            {"preprocess": "normalize", "mean": (0.1307,), "std": (0.3081,)},
            lambda x: (x / 255 - 0.1307) / 0.3081,
        ),
        (
            {"preprocess": "normalize", **IMAGENET},
            lambda x: (x / 255 - np.float32(IMAGENET["mean"])) / np.float32(IMAGENET["std"]),
        ),
    ],
    ids=["unit", "none", "normalize by one number", "normalize by three numbers"],
)
def test_the_scores_are_those_of_keras(
    tmp_path: Path, changes: dict[str, Any], formula: Callable[[Any], Any], channels: int
) -> None:
    model = small(keras, channels=channels)
    model.save(tmp_path / "model.keras")
    settings = dataclasses.replace(Settings(), model=tmp_path / "model.keras", **changes)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 16, 16, channels), np.uint8)
    if channels == 1 and len(settings.mean or ()) == 3:
        with pytest.raises(
            ModelError, match="INFERENCE_MEAN: expected 1 number for images of 1 channels, got 3"
        ):
            Engine.build(settings)
        return
    wanted = model.predict(formula(pixels.astype(np.float32)), verbose=0)
    assert np.abs(Engine.build(settings).run(pixels) - wanted).max() <= 1e-5


def test_each_effect_is_described_and_tried() -> None:
    assert not [(a, b) for a in DISTINCT for b in DISTINCT if a != b and same_effect(a, b)]
    assert effect("normalize") == "scales pixels by INFERENCE_MEAN and INFERENCE_STD"
    assert effect("efficientnet") == effect("none") == "leaves pixels unchanged"


# -------------------------------------------------------------------- the guess

AUGMENTATION = ("Flip", "Rotation", "Zoom", "Contrast", "Translation")
MEAN = np.array([103.9, 116.8, 123.7], np.float32)
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.float32)


def augmentation(library: Any) -> list[Any]:
    return [getattr(library.layers, f"Random{each}")(*ARGUMENTS.get(each, (0.1,))) for each in AUGMENTATION]


ARGUMENTS: dict[str, tuple[Any, ...]] = {"Flip": ("horizontal",), "Translation": (0.1, 0.1)}


def adapted(library: Any, pixels: Any) -> Any:
    layer = library.layers.Normalization()
    layer.adapt(pixels)
    return layer


def nested(library: Any) -> Any:
    return library.Sequential([library.Input((16, 16, 3)), *augmentation(library)])


FIRST: dict[str, tuple[Callable[[Any], list[Any]], str | None]] = {
    "nothing": (lambda k: [], None),
    "Rescaling to 0 … 1": (lambda k: [k.layers.Rescaling(1 / 255)], "none"),
    "Rescaling behind 5 layers": (lambda k: [*augmentation(k), k.layers.Rescaling(1 / 127.5, -1)], "none"),
    "Rescaling behind a nested model": (lambda k: [nested(k), k.layers.Rescaling(1 / 255)], "none"),
    "augmentation alone": (lambda k: [nested(k)], None),
    "Rescaling within a nested model": (
        lambda k: [k.Sequential([k.Input((16, 16, 3)), k.layers.Rescaling(1 / 255)])],
        "none",
    ),
    "Normalization of 0 … 255": (lambda k: [adapted(k, PIXELS)], "none"),
    "Normalization of 0 … 1": (lambda k: [adapted(k, PIXELS / 255)], "unit"),
    "Normalization of -1 … 1": (lambda k: [adapted(k, PIXELS / 127.5 - 1)], "inception_v3"),
    "x * 2 - 1": (lambda k: [k.layers.Rescaling(2, -1)], "unit"),
    "(x + 1) * 127.5": (lambda k: [k.layers.Rescaling(127.5, 127.5)], "inception_v3"),
    "x / 255 as an operation": (lambda k: [lambda x: x / 255.0], "none"),
    "x - mean as an operation": (lambda k: [lambda x: x - MEAN], "none"),
    "preprocess_input of MobileNetV2": (lambda k: [k.applications.mobilenet_v2.preprocess_input], "none"),
    "preprocess_input of VGG16": (lambda k: [k.applications.vgg16.preprocess_input], "none"),
    "a resize and a border": (
        lambda k: [k.layers.Resizing(12, 12), k.layers.Rescaling(1 / 255), k.layers.ZeroPadding2D(2)],
        "none",
    ),
    "an activation on the pixels": (lambda k: [k.layers.ReLU()], None),
    "a factor of no usual range": (lambda k: [k.layers.Rescaling(3.0)], None),
    "a square root": (lambda k: [lambda x: abs(x) ** 0.5], None),
    "BatchNormalization": (lambda k: [k.layers.BatchNormalization()], None),
}


def guessed(model: Any) -> Guess | None:
    shape = model.input_shape[1:]
    loaded = LoadedModel(lambda x: model(x, training=False), model.input_shape, model.output_shape, "")
    return guess(find_first_layers(freeze(_trace(loaded, shape, Settings()))))


@libraries
@pytest.mark.parametrize("name", FIRST)
def test_the_first_layers_show_the_preprocessing_or_nothing(library: Any, name: str) -> None:
    make, wanted = FIRST[name]
    found = guessed(small(library, *make(library)))
    assert (found.name if found else None) == wanted
    assert found is None or found.is_certain


@libraries
def test_branches_with_different_scales_show_nothing(library: Any) -> None:
    layers = library.layers
    given = library.Input((8, 8, 3))
    branches = [layers.Conv2D(2, 3)(x) for x in (given, layers.Rescaling(1 / 255)(given))]
    x = layers.Flatten()(layers.Concatenate()(branches))
    assert guessed(library.Model(given, layers.Dense(3)(x))) is None


def test_an_operation_after_the_first_weights_is_no_layer_on_the_pixels() -> None:
    engine = Engine.build(Settings(model=MODELS / "relu_op.h5"))
    assert guess(engine.graph.first_layers) is None


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        pytest.param(lambda: small(keras, keras.layers.Rescaling(1 / 255)), "none", id="Keras 3"),
        pytest.param(
            lambda: small(tf_keras, nested(tf_keras), tf_keras.layers.Rescaling(1 / 127.5, -1)),
            "none",
            id="Keras 2, with augmentation",
        ),
        pytest.param(lambda: small(keras), None, id="nothing"),
    ],
)
def test_a_saved_model_shows_it_too(tmp_path: Path, make: Callable[[], Any], wanted: str | None) -> None:
    model = make()
    # Keras 3 exports only; an export of Keras 2 would have the random generators of the augmentation.
    save = model.export if isinstance(model, keras.Model) else partial(model.save, save_format="tf")
    save(str(tmp_path / "model"))
    found = guess(Engine.build(Settings(model=tmp_path / "model")).graph.first_layers)
    assert (found.name if found else None) == wanted


@pytest.mark.parametrize(
    ("library", "name", "wanted"),
    [
        (
            keras,
            "MobileNet",
            Guess("mobilenet", "the model has the layer conv_pw_13 of Keras' mobilenet", False),
        ),
        (tf_keras, "MobileNetV2", Guess("mobilenet_v2", "", False)),
        (keras, "MobileNetV3Small", Guess("none", "", True)),
    ],
    ids=["MobileNet", "MobileNetV2", "MobileNetV3Small"],
)
def test_keras_own_models_are_known(library: Any, name: str, wanted: Guess) -> None:
    base = getattr(library.applications, name)(include_top=False, weights=None, input_shape=(32, 32, 3))
    given = library.Input((32, 32, 3))
    found = guessed(library.Model(given, library.layers.Flatten()(base(given))))
    assert found is not None and (found.name, found.is_certain) == (wanted.name, wanted.is_certain)
    assert wanted.reason in found.reason


# -------------------------------------------------------------------- the warning at the start


@pytest.mark.parametrize(
    ("first", "warning"),
    [
        ([], "and the model file does not show whether it was trained with it. Set INFERENCE_PREPROCESS to"),
        (
            [keras.layers.Rescaling(1 / 255)],
            r"but the model's first layers turn .*Set INFERENCE_PREPROCESS=none\.",
        ),
        ([keras.layers.Normalization(mean=0.0, variance=0.25)], None),
    ],
    ids=["nothing", "another preprocessing", "the default"],
)
def test_a_default_that_the_file_does_not_show_is_warned_about(first: list[Any], warning: str | None) -> None:
    model = small(keras, *first)
    loaded = LoadedModel(model, model.input_shape, model.output_shape, "")
    layers = find_first_layers(freeze(_trace(loaded, (16, 16, 3), Settings())))
    if warning is None:
        layers = dataclasses.replace(layers, tensors=(), names=frozenset({"mixed10"}))
        assert "does not show" in str(default_warning(Settings(), layers))
        return
    text = str(default_warning(Settings(), layers))
    assert text.startswith("INFERENCE_PREPROCESS is not set: the worker uses inception_v3, ")
    assert re.search(warning, text)


def test_a_preprocessing_that_is_set_or_calibrated_is_not_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INFERENCE_PREPROCESS", raising=False)
    thresholds = tmp_path / "thresholds.csv"
    settings = Settings(model=demo.MODEL, classes_file=demo.CLASSES, thresholds_file=thresholds)
    engine = Engine.build(settings)
    thresholds.write_bytes(demo.THRESHOLDS.read_bytes())
    assert len(_preprocess_warnings(settings, engine)) == 1
    monkeypatch.setenv("INFERENCE_PREPROCESS", "inception_v3")
    assert _preprocess_warnings(settings, engine) == []
    monkeypatch.delenv("INFERENCE_PREPROCESS")
    thresholds.write_text(
        ",".join(header(provenance(settings, engine.fingerprint, engine.graph.shape))) + "\n"
    )
    assert _preprocess_warnings(settings, engine) == []


def test_keras_computes_with_tensors_too() -> None:
    """The graph calls the functions with tensors, and the trial of settings with arrays."""
    assert isinstance(keras.applications.vgg16.preprocess_input(tf.zeros((1, 2, 2, 3))), tf.Tensor)
