"""`check` on real models: what it finds, and that it agrees with a worker's start."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import demo
from cli.check.model_file import read_model_file
from cli.main import main
from shared.settings import PREPROCESS_CHOICES, PREPROCESS_NAMES, Settings
from tests.images import saved, scene
from worker import cuda_driver
from worker.engine import Engine
from worker.preprocessing_guess import KNOWN_LAYERS, effect
from worker.processor import processor_name
from worker.thresholds_file import header, provenance

HEADER = "class,top1_minval,top1_maxval,top2_minval,top2_maxval,correct_percentage\n"
layers = keras.layers


def model(
    path: Path, *inner: Any, shape: tuple[int, int, int] = (8, 8, 3), activation: str = "softmax"
) -> Path:
    """A small model of 3 classes, saved by Keras 3."""
    last = [layers.Flatten(), layers.Dense(3, activation=activation)]
    keras.Sequential([layers.Input(shape), *inner, *last]).save(path)
    return path


Check = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run `check --json` with classes and thresholds for 3 classes; gives its status and what it printed."""
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    (tmp_path / "thresholds.csv").write_text(HEADER + "a,.9,1,0,.5,1\n")
    monkeypatch.setenv("INFERENCE_CLASSES_FILE", str(tmp_path / "classes.txt"))
    monkeypatch.setenv("INFERENCE_THRESHOLDS_FILE", str(tmp_path / "thresholds.csv"))

    def run(path: Path, *options: str) -> tuple[int, dict[str, Any]]:
        status = main(["check", "--model", str(path), "--json", *options])
        return status, json.loads(capsys.readouterr().out)

    return run


def texts(found: dict[str, Any], kind: str, part: str | None = None) -> str:
    return "\n".join(
        each["text"] for each in found["findings"] if each["kind"] == kind and part in (None, each["part"])
    )


def test_the_demo_is_described_in_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("INFERENCE_MODEL", "INFERENCE_CLASSES_FILE", "INFERENCE_THRESHOLDS_FILE"):
        monkeypatch.setenv(name, str({"M": demo.MODEL, "C": demo.CLASSES, "T": demo.THRESHOLDS}[name[10]]))
    assert main(["check"]) == 0
    printed = capsys.readouterr().out
    for text in (
        "an H5 file, saved by Keras 3.",
        "9 layers (3 Conv2D, 3 MaxPooling2D, ",
        "44,084 parameters",
        "input: 32×32 with 3 channels",
        "output: 20 scores from softmax",
        "20 names, from 'Digitus nullus albus' to 'Digitus novem niger'",
        "`consolidate` merges the classes into 10 species",
        "20 of 20 classes, from 0.500 to 0.961",
        "· 0.9999",  # not quite 1, and not rounded to it
        " Digitus septem albus (accepted, threshold 0.5000)",
        f"  INFERENCE_MODEL={demo.MODEL} ",
    ):
        assert text in printed


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_parameters_are_those_that_keras_counts(ending: str, tmp_path: Path) -> None:
    network = keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.RandomFlip(),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    network.compile("adam", "mse")
    network.fit(
        np.zeros((2, 8, 8, 3)), np.zeros((2, 3)), verbose=0
    )  # so that the file has the optimizer's, too
    network.save(tmp_path / f"model.{ending}")
    found = read_model_file(tmp_path / f"model.{ending}")
    assert found.parameters == network.count_params()
    assert [layer.kind for layer in found.layers[-3:]] == ["BatchNormalization", "Flatten", "Dense"]


def test_an_exported_model_shows_its_tensorflow(tmp_path: Path, check: Check) -> None:
    import tensorflow as tf

    keras.Sequential(
        [layers.Input((8, 8, 3)), layers.Flatten(), layers.Dense(3, activation="softmax")]
    ).export(tmp_path / "saved", verbose=False)
    status, found = check(tmp_path / "saved")
    assert (status, found["saved_by"]) == (0, f"TensorFlow {tf.__version__}")


def test_a_model_that_ends_in_logits_is_advised_softmax(tmp_path: Path, check: Check) -> None:
    status, found = check(model(tmp_path / "model.h5", activation="linear"))
    assert (status, found["advised"]) == (0, {"INFERENCE_ACTIVATION": "softmax"})
    assert (
        "the last layer has no activation. If the model returns logits, set INFERENCE_ACTIVATION=softmax"
        in texts(found, "warning")
    )


def test_softmax_twice_is_reported(tmp_path: Path, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERENCE_ACTIVATION", "softmax")
    _, found = check(model(tmp_path / "model.h5"))
    assert "the model already ends in softmax. Unset INFERENCE_ACTIVATION" in texts(found, "warning")


def test_a_lambda_layer_is_a_fault_and_its_file_is_still_described(tmp_path: Path, check: Check) -> None:
    status, found = check(model(tmp_path / "model.h5", layers.Lambda(lambda x: x / 255)))
    assert (status, found["serves"]) == (1, False)
    assert "has a Lambda layer" in texts(found, "fault", "model")
    assert found["layers"]["Lambda"] == 1
    assert "no Lambda or custom layers" not in texts(found, "ok")


def test_a_custom_layer_is_a_fault(tmp_path: Path, check: Check) -> None:
    class Mine(layers.Layer):  # type: ignore[misc]
        pass

    status, found = check(model(tmp_path / "model.h5", Mine()))
    assert status == 1 and "names Mine" in texts(found, "fault", "model")


def test_faults_of_all_parts_are_reported_at_once(tmp_path: Path, check: Check) -> None:
    (tmp_path / "classes.txt").write_text("a\n\nc\n")
    (tmp_path / "thresholds.csv").unlink()
    status, found = check(tmp_path / "none.h5")
    assert status == 1
    assert "there is no file" in texts(found, "fault", "model")
    assert "line 2: expected a class name, got an empty line" in texts(found, "fault", "classes")
    assert "classification-server calibrate FOLDER" in texts(found, "fault", "thresholds")


def test_classes_that_do_not_fit_are_reported_with_both_numbers(tmp_path: Path, check: Check) -> None:
    (tmp_path / "classes.txt").write_text("a\nb\n")
    status, found = check(model(tmp_path / "model.h5"))
    assert status == 1
    assert "expected 3 classes, one for each output of the model" in texts(found, "fault", "classes")


def test_wrong_settings_are_all_reported(
    tmp_path: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("INPUT_BATCH", "0"), ("INPUT_COLOR", "cmyk"), ("INPUT_HIGHT", "9")):
        monkeypatch.setenv(name, value)
    status, found = check(demo.MODEL)
    assert status == 1
    assert [text.split(":")[0] for text in texts(found, "fault").splitlines()] == [
        "INPUT_COLOR",
        "INPUT_BATCH",
    ]
    assert "INPUT_HIGHT is not a setting" in texts(found, "warning")


def test_thresholds_that_can_never_be_exceeded_are_reported(tmp_path: Path, check: Check) -> None:
    (tmp_path / "thresholds.csv").write_text(HEADER + "b,1,1,1,1,1\n")
    _, found = check(model(tmp_path / "model.h5"))
    assert "b can never be accepted" in texts(found, "warning", "thresholds")
    assert "only the minimum threshold applies to a, c" in texts(found, "note", "thresholds")


def test_thresholds_of_another_model_or_precision_are_reported(
    tmp_path: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, thresholds = model(tmp_path / "model.h5"), tmp_path / "thresholds.csv"
    _, found = check(path)
    assert "the header contains no model and no precision" in texts(found, "note", "thresholds")
    shape = (8, 8, 3)
    rows = thresholds.read_text().partition("\n")[2]
    own = provenance(Settings(), found["fingerprint"], shape)
    thresholds.write_text(f"{','.join(header(own))}\n{rows}")
    status, found = check(path)
    assert (status, texts(found, "warning", "thresholds"), found["provenance"]) == (0, "", own)
    assert "calibrated with this model, the precision float32" in texts(found, "ok", "thresholds")
    monkeypatch.setenv("INFERENCE_PRECISION", "bfloat16")
    status, found = check(model(tmp_path / "other.h5", layers.Rescaling(1 / 2)))
    ours, theirs = found["fingerprint"][:12], own["model"][:12]
    assert (status, ours != theirs) == (0, True)
    assert (
        f"expected thresholds for model {ours}, precision bfloat16, got thresholds for model {theirs},"
        " precision float32. Run"
    ) in texts(found, "warning", "thresholds")


def test_an_image_of_one_s_own_is_classified(tmp_path: Path, check: Check) -> None:
    (tmp_path / "photo.jpg").write_bytes(saved(scene(40, 30)))
    _, found = check(model(tmp_path / "model.h5"), "--image", str(tmp_path / "photo.jpg"))
    assert found["sample"]["image"].endswith("photo.jpg")
    assert sum(each["score"] for each in found["sample"]["predictions"]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("content", [b"not an image", None])
def test_an_image_that_cannot_be_read_is_a_fault(content: bytes | None, tmp_path: Path, check: Check) -> None:
    if content:
        (tmp_path / "photo.jpg").write_bytes(content)
    status, found = check(model(tmp_path / "model.h5"), "--image", str(tmp_path / "photo.jpg"))
    assert status == 1 and texts(found, "fault", "sample")


def test_the_command_has_what_is_set_and_advised_but_no_secret(
    tmp_path: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEYS", "0123456789abcdef")
    monkeypatch.setenv("INPUT_BATCH", "8")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my models"
    folder.mkdir()
    model(folder / "model.h5", activation="linear")
    _, found = check(Path("my models/model.h5"))
    *words, program, command = shlex.split(found["command"])
    assert (program, command) == ("classification-server", "serve")
    assert dict(word.split("=", 1) for word in words) == {
        "INFERENCE_MODEL": str(folder / "model.h5"),
        "INFERENCE_CLASSES_FILE": str(tmp_path / "classes.txt"),
        "INFERENCE_THRESHOLDS_FILE": str(tmp_path / "thresholds.csv"),
        "INPUT_BATCH": "8",
        "INFERENCE_ACTIVATION": "softmax",
    }


def test_quiet_prints_errors_and_warnings_only(
    tmp_path: Path, check: Check, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERENCE_PREPROCESS", "inception_v3")
    path = str(model(tmp_path / "model.h5"))
    assert main(["check", "--model", path, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    (tmp_path / "thresholds.csv").unlink()
    assert main(["check", "--model", path, "--quiet"]) == 1
    assert capsys.readouterr().out.startswith("  ✗ INFERENCE_THRESHOLDS_FILE: there is no file")


# -------------------------------------------------------------------- preprocessing


def test_an_application_within_a_model_is_known_and_reported(tmp_path: Path, check: Check) -> None:
    inner = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3), alpha=0.25)
    path = model(tmp_path / "model.h5", inner, shape=(32, 32, 3))
    _, found = check(path)
    assert "as expected because the model has the layer" in texts(found, "note")
    assert "expected because" not in texts(found, "ok")  # The file does not show the preprocessing.
    assert found["preprocess"] == {"set": "inception_v3", "guess": "mobilenet"}
    assert found["advised"] == {}


@pytest.mark.parametrize(
    ("setting", "inner", "advised", "formula"),
    [
        pytest.param(
            "resnet50", lambda: layers.Rescaling(1 / 255), "none", lambda x: x, id="set, and certain"
        ),
        pytest.param("", lambda: layers.Rescaling(1 / 255), "none", lambda x: x, id="certain"),
        pytest.param(
            "",
            lambda: layers.Conv2D(4, 3, name="block5_conv3"),
            "vgg16",
            keras.applications.vgg16.preprocess_input,
            id="probable",
        ),
    ],
)
def test_the_advised_preprocessing_gives_the_scores_of_keras(
    tmp_path: Path,
    check: Check,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    inner: Callable[[], Any],
    advised: str,
    formula: Callable[[Any], Any],
) -> None:
    monkeypatch.setenv("INFERENCE_PREPROCESS", setting)
    path = model(tmp_path / "model.h5", inner())
    _, found = check(path)
    assert found["advised"] == {"INFERENCE_PREPROCESS": advised}
    assert f". Set INFERENCE_PREPROCESS={advised}, which " in texts(found, "warning")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    wanted = keras.models.load_model(path, compile=False).predict(
        formula(pixels.astype(np.float32)), verbose=0
    )
    settings = Settings.from_environ({"INFERENCE_MODEL": str(path), **found["advised"]})
    assert np.abs(Engine.build(settings).run(pixels) - wanted).max() <= 1e-5


def test_what_is_set_is_kept_unless_the_file_shows_another_preprocessing(
    tmp_path: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = model(tmp_path / "model.h5", layers.Conv2D(4, 3, name="block5_conv3"))
    monkeypatch.setenv("INFERENCE_PREPROCESS", "unit")
    _, found = check(path)
    assert (found["advised"], texts(found, "warning", "model")) == ({}, "")
    assert "scales pixels to 0 … 1, although the model has the layer block5_conv3" in texts(found, "note")
    monkeypatch.setenv("INFERENCE_PREPROCESS", "none")
    _, found = check(model(tmp_path / "other.h5", layers.Rescaling(1 / 255)))
    assert "expected because the model's first layers turn 0 … 255 into 0 … 1" in texts(found, "ok")


def test_a_model_that_shows_nothing_never_gets_a_tick(
    tmp_path: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = model(tmp_path / "model.h5")
    for setting, kind in (("", "warning"), ("unit", "note")):
        monkeypatch.setenv("INFERENCE_PREPROCESS", setting)
        _, found = check(path)
        assert "; the model's layers do not show its preprocessing. Run" in texts(found, kind, "model")
        assert "INFERENCE_PREPROCESS" not in texts(found, "ok") and found["advised"] == {}


def test_each_guess_is_a_setting_and_each_effect_has_a_description() -> None:
    assert set(KNOWN_LAYERS.values()) <= set(PREPROCESS_NAMES)
    assert all(effect(name) != "changes pixels in another way" for name in PREPROCESS_CHOICES)


def test_the_device_is_reported_or_refused(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libabsent.so.1")
    monkeypatch.setenv("INFERENCE_GPU_MEMORY", "1000")
    status, found = check(model(tmp_path / "m.keras"))
    assert status == 0 and found["device"] == {"kind": "cpu", "name": processor_name()}
    assert texts(found, "ok", "device") == f"CPU: {processor_name()}"
    assert texts(found, "warning", "device") == "INFERENCE_GPU_MEMORY ignored: the model runs on the CPU"
    monkeypatch.setenv("INFERENCE_DEVICE", "gpu")
    status, found = check(tmp_path / "m.keras")
    assert status == 1 and "expected a GPU, but there is no NVIDIA driver" in texts(found, "fault", "device")
    assert "no Lambda or custom layers" in texts(found, "ok", "model")
