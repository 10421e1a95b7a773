"""Models of many shapes and of both Kerases: findings of `check`, and scores against Keras' own."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import demo
from cli.main import main
from shared.settings import Settings
from tests.model_cases import CASES, images
from tests.score_stability import crops, instability
from worker.engine import Engine
from worker.model_allowlist import ModelError

MODELS = Path(__file__).parent.parent / "cases/models"
HEADER = "class,top1_minval,top1_maxval,top2_minval,top2_maxval,correct_percentage\n"
SAVED = ("binary", "two heads", "common package", "channels first")
FILES = [*((name, ".h5") for name in CASES), *((name, end) for name in SAVED for end in (".keras", "_saved"))]
ADVISED = {"binary logit": "sigmoid", "logits": "softmax", "multilabel logits": "softmax"}
each_library = pytest.mark.parametrize("library", ["keras", "tf_keras"])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the models of both libraries, each built in one process."""
    folder = tmp_path_factory.mktemp("built")
    environ = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}
    processes = []
    for library in ("keras", "tf_keras"):
        (folder / library).mkdir()
        command = [sys.executable, "-m", "tests.model_cases", library, str(folder / library)]
        processes.append(subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL))
    assert [each.wait(timeout=300) for each in processes] == [0, 0]
    return folder


def expected(path: Path, name: str, head: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, uint8 [n, height, width, channels], and Keras' own scores [n, outputs]."""
    saved = np.load(path / f"{name.replace(' ', '_')}.npz")
    pixels, wanted = saved["pixels"], saved[f"head{head}"]
    if name == "channels first":
        pixels = pixels.transpose(0, 2, 3, 1)
    return pixels.reshape(len(pixels), 16, 16, -1), wanted.reshape(len(wanted), -1)


def build(path: Path, **changes: Any) -> Engine:
    return Engine.build(dataclasses.replace(Settings(), model=path, preprocess="unit", **changes))


def file(folder: Path, library: str, name: str, end: str = ".h5") -> Path:
    return folder / library / f"{name.replace(' ', '_')}{end}"


def in_two_classes(scores: np.ndarray) -> np.ndarray:
    return np.concatenate([1 - scores, scores], 1) if scores.shape[1] == 1 else scores


def activated(scores: np.ndarray, activation: str) -> np.ndarray:
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-scores))
    exponents = np.exp(scores - scores.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True) if activation == "softmax" else scores


@each_library
@pytest.mark.parametrize(("name", "end"), FILES)
def test_the_scores_are_keras_own(built: Path, library: str, name: str, end: str) -> None:
    heads = {".h5": "1", ".keras": "age", "_saved": "output_1" if library == "keras" else "age"}
    output, head = (heads[end], 1) if name == "two heads" else (None, 0)
    engine = build(file(built, library, name, end), output=output)
    pixels, wanted = expected(built / library, name, head)
    wanted = in_two_classes(wanted)
    found = engine.run(pixels)
    assert found.shape == wanted.shape and np.abs(found - wanted).max() <= 1e-4
    alone = np.concatenate([engine.run(pixels[at : at + 1]) for at in range(len(pixels))])
    assert np.abs(alone - wanted).max() <= 1e-4


def check(
    path: Path, classes: int, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, **environ: str
) -> dict[str, Any]:
    """Run `check --json` with names for this number of classes; return what it printed."""
    (folder / "classes.txt").write_text("".join(f"class {index}\n" for index in range(classes)))
    (folder / "thresholds.csv").write_text(HEADER)
    monkeypatch.setenv("INFERENCE_PREPROCESS", "unit")
    monkeypatch.setenv("INFERENCE_CLASSES_FILE", str(folder / "classes.txt"))
    monkeypatch.setenv("INFERENCE_THRESHOLDS_FILE", str(folder / "thresholds.csv"))
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    main(["check", "--model", str(path), "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@each_library
@pytest.mark.parametrize("name", [name for name in CASES if name != "two heads"])
def test_the_advised_activation_gives_probabilities_and_no_other_is_advised(
    built: Path, library: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path = file(built, library, name)
    pixels, wanted = expected(built / library, name)
    outputs = max(wanted.shape[1], 2)
    found = check(path, outputs, tmp_path, monkeypatch, capsys)
    assert found["serves"] and found["outputs"] == outputs
    assert found["advised"].get("INFERENCE_ACTIVATION") == ADVISED.get(name), found["findings"]
    if name in ADVISED:
        engine = build(path, activation=ADVISED[name])
        scores = in_two_classes(activated(wanted, ADVISED[name]))
        assert np.abs(engine.run(pixels) - scores).max() <= 1e-4
        assert engine.graph.activation_advice is None


@each_library
@pytest.mark.parametrize("name", ["binary", "multilabel", "softmax operation"])
def test_an_activation_of_probabilities_is_advised_against(
    built: Path, library: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    _, wanted = expected(built / library, name)
    outputs = max(wanted.shape[1], 2)
    setting = {"INFERENCE_ACTIVATION": "sigmoid"}
    found = check(file(built, library, name), outputs, tmp_path, monkeypatch, capsys, **setting)
    assert found["advised"]["INFERENCE_ACTIVATION"] == "none"


REFUSED: dict[str, tuple[Callable[[Path], Path], dict[str, Any], str]] = {
    "several outputs": (
        lambda built: file(built, "keras", "two heads"),
        {},
        r"INFERENCE_OUTPUT: expected the name or the index .*"
        r" got nothing\. Set it to one of: 0 sex \(3 scores\),"
        r" 1 age \(5 scores\)",
    ),
    "an unknown output": (
        lambda built: file(built, "tf_keras", "two heads"),
        {"output": "height"},
        r"INFERENCE_OUTPUT: .* got 'height'\. Set it to one of: 0 sex",
    ),
    "softmax of one score": (
        lambda built: file(built, "keras", "binary logit"),
        {"activation": "softmax"},
        "INFERENCE_ACTIVATION: expected none or sigmoid for a model with one output, got softmax",
    ),
    "random augmentation in an export": (
        lambda built: file(built, "keras", "random augmentation", "_saved"),
        {},
        r"training mode.*random_flip.*Use the \.keras file",
    ),
    "training mode in an export": (
        lambda built: file(built, "keras", "resized", "_saved"),
        {},
        r"training mode.*batch_normalization.*Use the \.keras file",
    ),
    "Keras 1": (
        lambda built: MODELS / "keras1.h5",
        {},
        r"saved by Keras 1\.2\.2, .*tf_keras.*`model.load_weights`",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_reason_and_a_way_out(built: Path, name: str) -> None:
    path, changes, words = REFUSED[name]
    with pytest.raises(ModelError, match=words):
        build(path(built), **changes)


@pytest.mark.parametrize("name", ["random augmentation", "resized"])
def test_the_keras_file_that_the_refusal_advises_is_served(built: Path, name: str) -> None:
    pixels, wanted = expected(built / "keras", name)
    assert np.abs(build(file(built, "keras", name, ".keras")).run(pixels) - wanted).max() <= 1e-4


@pytest.mark.parametrize("name", ["old_reshape", "softmax_op"])
def test_old_files_are_served(name: str) -> None:
    import tf_keras

    reference = tf_keras.models.load_model(MODELS / f"{name}.h5", compile=False)
    pixels = images((32, 32, 3))
    wanted = reference.predict(pixels.astype(np.float32) / 255, verbose=0)
    engine = build(MODELS / f"{name}.h5")
    assert np.abs(engine.run(pixels) - wanted).max() <= 1e-4
    assert engine.graph.activation_advice is None


def test_the_way_out_for_keras_1_gives_a_served_model(tmp_path: Path) -> None:
    import h5py
    import tf_keras as k

    layers = [
        *(k.Input((32, 32, 3)), k.layers.Conv2D(8, 3, activation="relu"), k.layers.MaxPooling2D()),
        *(k.layers.Dropout(0.25), k.layers.Flatten(), k.layers.Dense(5, activation="softmax")),
    ]
    model = k.Sequential(layers)
    model.load_weights(MODELS / "keras1.h5")
    model.save(tmp_path / "new.h5")
    pixels = images((32, 32, 3))
    with h5py.File(MODELS / "keras1.h5") as old:
        assert re.match("1", old.attrs["keras_version"])
    wanted = model.predict(pixels.astype(np.float32) / 255, verbose=0)
    assert np.abs(build(tmp_path / "new.h5").run(pixels) - wanted).max() <= 1e-4


# -------------------------------------------------------------------- scores do not move


def test_scores_of_the_demos_photos_do_not_depend_on_other_images() -> None:
    from worker.classes_file import read_classes
    from worker.thresholds_file import read_thresholds

    classes = read_classes(demo.CLASSES)
    values = read_thresholds(demo.THRESHOLDS, classes)
    limits = np.array([max(values[name].value, 0.5) for name in classes])
    engine = Engine.build(dataclasses.replace(Settings(), model=demo.MODEL))
    largest, changed = instability(engine.run, crops(1667, engine.graph.shape), limits)
    assert largest <= 1e-4 and changed == 0


def test_an_unstable_model_is_noticed() -> None:
    """Prove that the test above can fail."""
    pixels = crops(20, (8, 8, 3))
    largest, changed = instability(lambda x: x.mean((1, 2)) - x.mean(), pixels)
    assert largest > 1 and changed
