"""`check` and `calibrate` on labelled images, and `check --against`: they find a model's own settings."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from cli.calibrate.labelled_images import CalibrationError, LabelledImage
from cli.calibrate.settings_trial import MAX_TRIAL_IMAGES, Choice, Trial, choices, mcnemar, sample
from cli.check.trainer_scores import read_trainer_scores
from cli.main import main
from shared.settings import Settings
from tests import rendered_digits

HEADER = "class,top1_minval,top1_maxval,top2_minval,top2_maxval,correct_percentage\n"
Run = Callable[..., tuple[int, dict[str, Any]]]


@dataclass(frozen=True)
class Digits:
    """A folder with a model of digits that was trained on pixels / 255, and with labelled images."""

    folder: Path
    model: Any
    accuracy: float
    files: list[Path]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    folder = tmp_path_factory.mktemp("digits")
    model = rendered_digits.train(folder / "model.h5")
    pixels, values = rendered_digits.draw(200, 2)
    accuracy = (model.predict(pixels / np.float32(255), verbose=0).argmax(1) == values).mean()
    files = rendered_digits.save(folder / "images", pixels, values)
    (folder / "classes.txt").write_text("\n".join(rendered_digits.CLASSES))
    (folder / "thresholds.csv").write_text(HEADER)
    return Digits(folder, model, float(accuracy), files)


@pytest.fixture
def run(digits: Digits, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `check --json` of the digit model; return the exit status and the JSON."""
    use(monkeypatch, digits.folder)

    def command(*options: object) -> tuple[int, dict[str, Any]]:
        status = main(["check", "--json", *map(str, options)])
        return status, json.loads(capsys.readouterr().out)

    return command


def use(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    names = {"MODEL": "model.h5", "CLASSES_FILE": "classes.txt", "THRESHOLDS_FILE": "thresholds.csv"}
    for name, file in names.items():
        monkeypatch.setenv(f"INFERENCE_{name}", str(folder / file))


def texts(found: dict[str, Any], part: str) -> str:
    return "\n".join(f"{each['kind']}: {each['text']}" for each in found["findings"] if each["part"] == part)


def test_check_finds_the_preprocessing_with_labelled_images(digits: Digits, run: Run) -> None:
    status, found = run(digits.folder / "images")
    trial, count = found["trial"], round(200 * digits.accuracy)
    assert (status, found["advised"]) == (0, {"INFERENCE_PREPROCESS": "unit"})
    assert " INFERENCE_PREPROCESS=unit " in found["command"]
    assert trial["best"]["INFERENCE_PREPROCESS"] == "unit" and trial["chance"]["INFERENCE_PREPROCESS"] < 1e-3
    assert (trial["images"], trial["tried"][0]["correct"], len(trial["tried"])) == (200, count, 9)
    words = texts(found, "labelled")
    assert f"unit {100 * digits.accuracy:.1f} %, none " in words
    assert "The choice of unit is sure (p < 0.001 against none)." in words
    assert "These images show no difference between antialias and bilinear." in words
    assert "warning: other settings give better answers. Set INFERENCE_PREPROCESS=unit." in words


def test_what_is_right_already_is_not_advised_against(
    digits: Digits, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERENCE_PREPROCESS", "normalize")
    monkeypatch.setenv("INFERENCE_MEAN", "0")
    monkeypatch.setenv("INFERENCE_STD", "1")
    table = tmp_path / "labels.csv"
    rows = [f"{each.relative_to(digits.folder)};{each.parent.name}" for each in digits.files[:10]]
    table.write_text("\n".join(["file;label", *rows]))
    status, found = run(digits.folder, "--labels", table)
    assert (status, found["advised"]) == (0, {})
    assert found["trial"]["best"]["INFERENCE_PREPROCESS"] == "normalize"
    assert "these images show no difference" in texts(found, "labelled").lower()


def test_calibrate_names_better_settings(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, digits.folder)
    output = tmp_path / "thresholds.csv"
    assert main(["calibrate", str(digits.folder / "images"), "--json", "--quiet", "-o", str(output)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trial"]["advised"] == {"INFERENCE_PREPROCESS": "unit"}
    assert "Set INFERENCE_PREPROCESS=unit, and calibrate again." in found["notes"]
    assert "Set INFERENCE_PREPROCESS=unit, and calibrate again." in output.with_suffix(".html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["FOLDER"], "the folder images is not in the classes file"),
        (["--labels", "FOLDER/none.csv"], "--labels: expected the folder of the images too"),
        (["FOLDER/images", "--labels", "FOLDER/none.csv"], "none.csv can't be read"),
        (["--against", "FOLDER/none.csv"], "none.csv can't be read"),
    ],
)
def test_images_that_are_not_labelled_are_reported(
    digits: Digits, run: Run, options: list[str], message: str
) -> None:
    status, found = run(*(each.replace("FOLDER", str(digits.folder)) for each in options))
    assert (status, found["serves"]) == (1, True)
    assert message in texts(found, "labelled") + texts(found, "against")


# -------------------------------------------------------------------- how sure the choice is


@pytest.mark.parametrize(
    ("better", "worse", "wanted"),
    [(0, 0, 1.0), (1, 0, 1.0), (6, 0, 2 / 2**6), (9, 1, 22 / 2**10), (1, 9, 22 / 2**10), (5, 5, 1.0)],
)
def test_the_test_is_mcnemar_s(better: int, worse: int, wanted: float) -> None:
    assert mcnemar(better, worse) == pytest.approx(wanted)


def trial(*right: str) -> Trial:
    """A trial of `none` (set), `unit` and `vgg16`, with 1 for each image whose answer is correct."""
    names = ("none", "unit", "vgg16")
    combinations = [Choice(name, "rgb", "antialias") for name in names[: len(right)]]
    return Trial(combinations, np.array([[each == "1" for each in row] for row in right]), np.arange(3.0))


@pytest.mark.parametrize(
    ("right", "best", "advised", "words"),
    [
        (("0" * 20, "1" * 20), "unit", {"INFERENCE_PREPROCESS": "unit"}, "is sure (p < 0.001 against none)"),
        (
            ("0" * 6 + "1" * 9, "1" * 15),
            "unit",
            {"INFERENCE_PREPROCESS": "unit"},
            "is sure (p = 0.031 against",
        ),
        (("0" * 6, "1" * 6, "0" * 6), "unit", {}, "too few to be sure of unit against none (p = 0.06)"),
        (("0" * 3, "1" * 3), "unit", {}, "too few to be sure of unit against none (p = 0.25)"),
        (
            ("0" * 15, "1" * 15, "1" * 15),
            "vgg16",
            {"INFERENCE_PREPROCESS": "vgg16"},
            "no difference between vgg16 and unit",
        ),
        (("110", "110"), "none", {}, "no difference between none and unit"),
    ],
)
def test_a_choice_is_advised_if_it_is_sure(
    right: tuple[str, ...], best: str, advised: dict[str, str], words: str
) -> None:
    found = trial(*right)
    assert (found.best.preprocess, found.advised()) == (best, advised)
    assert words in "\n".join(found.lines())


def test_all_different_combinations_are_tried_and_those_set_first() -> None:
    settings = Settings(preprocess="vgg16", input_color="bgr", input_resize="nearest")
    found = choices(settings, 3)
    assert found[0] == Choice("vgg16", "bgr", "nearest") and len(found) == len(set(found)) == 5 * 2 * 3
    assert {each.preprocess for each in found} == {"vgg16", "unit", "none", "inception_v3", "densenet"}
    assert {each.input_color for each in choices(Settings(), 1)} == {"rgb"}


def test_a_sample_has_images_of_all_classes() -> None:
    images = [LabelledImage(Path(f"{number}"), number % 100 and 1) for number in range(1000)]
    found = sample(images)
    assert len(set(found)) == MAX_TRIAL_IMAGES and found == sample(images)
    assert sum(each.truth == 0 for each in found) == 10
    assert sorted(each.path for each in sample(images[:9])) == [each.path for each in images[:9]]


# -------------------------------------------------------------------- the trainer's scores


def write_scores(table: Path, files: list[Path], classes: tuple[str, ...], scores: Any) -> Path:
    rows = [",".join([str(file), *map(str, row)]) for file, row in zip(files, scores, strict=True)]
    table.write_text("\n".join([",".join(["file", *classes]), *rows]))
    return table


def test_the_trainer_s_scores_are_met_or_the_settings_that_meet_them_are_named(
    digits: Digits, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = digits.files[:5]
    pixels = np.stack([np.asarray(Image.open(each), np.float32)[..., None] for each in files]) / 255
    scores = digits.model.predict(pixels, verbose=0)
    table = write_scores(tmp_path / "scores.csv", files, rendered_digits.CLASSES, scores)
    status, found = run("--against", table)
    assert (status, found["serves"], found["advised"]) == (1, True, {"INFERENCE_PREPROCESS": "unit"})
    assert found["against"]["closest_difference"] < 1e-4 and not found["against"]["within_tolerance"]
    monkeypatch.setenv("INFERENCE_PREPROCESS", "unit")
    status, found = run("--against", table)
    assert status == 0 and found["against"]["max_difference"] < 1e-4
    assert "within the tolerance of 0.01. The largest difference is in " in texts(found, "against")
    scores[3, 7] += 0.02
    write_scores(table, files, rendered_digits.CLASSES, scores)
    status, found = run("--against", table)
    assert (status, found["against"]["image"], found["against"]["class"]) == (1, str(files[3]), "7")
    assert found["against"]["max_difference"] == pytest.approx(0.02, abs=1e-4)
    assert "The training used other preprocessing, or another model" in texts(found, "against")
    assert run("--against", table, "--tolerance", "0.03")[0] == 0


def test_the_colour_order_and_the_filter_are_found_too(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    last = [layers.Flatten(), layers.Dense(3, activation="softmax")]
    model = keras.Sequential([layers.Input((16, 16, 3)), *last])
    model.save(tmp_path / "model.h5")
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    (tmp_path / "thresholds.csv").write_text(HEADER)
    use(monkeypatch, tmp_path)
    photos = [
        Image.fromarray(each) for each in np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), np.uint8)
    ]
    for number, photo in enumerate(photos):
        photo.save(tmp_path / f"{number}.png")
    inputs = np.stack([np.asarray(each.resize((16, 16), Image.Resampling.NEAREST)) for each in photos])
    scores = model.predict(inputs[..., ::-1] / np.float32(255), verbose=0)
    # One class is enough, with a semicolon between cells and decimal commas. File names are relative.
    rows = [f"{number}.png;{str(row[1]).replace('.', ',')}" for number, row in enumerate(scores)]
    (tmp_path / "scores.csv").write_text("\n".join(["file;b", *rows]))
    status, found = run("--against", tmp_path / "scores.csv")
    wanted = {"INFERENCE_PREPROCESS": "unit", "INPUT_COLOR": "bgr", "INPUT_RESIZE": "nearest"}
    assert (status, found["advised"], found["against"]["closest"]) == (1, wanted, wanted)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: expected `file` and the names of classes"),
        ("image,0\n", "line 1: expected `file` and the names of classes, got image, 0"),
        ("file,O\n", "line 1: the class 'O' is not in the classes file"),
        ("file,0\n", "expected from 1 to 100 rows, got 0"),
        ("file,0\na.png,0.5,0.5\n", "line 2: expected 2 cells, got 3"),
        ("file,0\na.png,half\n", "line 2: expected a score, got 'half'"),
    ],
)
def test_a_malformed_table_is_reported_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "scores.csv").write_text(content)
    with pytest.raises(CalibrationError, match=re.escape(message)):
        read_trainer_scores(tmp_path / "scores.csv", tmp_path, rendered_digits.CLASSES)


def test_an_image_of_the_table_that_cannot_be_read_is_reported(run: Run, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("file,0\nnone.png,0.5\n")
    status, found = run("--against", tmp_path / "scores.csv")
    assert (status, found["serves"]) == (1, True)
    assert "none.png can't be read: No such file" in texts(found, "against")
