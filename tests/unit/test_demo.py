"""The demo model is as accurate as demo/README.md says, for digits that it was not trained with."""

import csv
import json
import os
import re
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image

import demo
from demo.digits import NAMES, draw_all, draw_photo, draw_plain, pixels, split_digits
from demo.train import CHECK_COPIES, accuracy, empty_images, scores_of, threshold_rows
from shared.job import Options, Region
from worker.classes_file import read_classes
from worker.decide import Decider
from worker.thresholds_file import read_thresholds

README = (demo.FOLDER / "README.md").read_text()
EXPECTED = json.loads(demo.EXPECTED.read_text())


@pytest.fixture(scope="module")
def model() -> Any:
    import keras

    return keras.models.load_model(demo.MODEL, compile=False)


def accuracy_in_readme(what: str) -> float:
    found = re.search(rf"\| {re.escape(what)} \| ([\d.]+) % \|", README)
    assert found, what
    return float(found[1]) / 100


@pytest.mark.parametrize(
    ("drawing", "what"), [(draw_plain, "clean drawings"), (draw_photo, "drawings that vary like photos")]
)
def test_accuracy_is_what_the_readme_says(model: Any, drawing: Any, what: str) -> None:
    images, outputs = draw_all(split_digits()[2], drawing)
    found = accuracy(scores_of(model, images), outputs)
    assert abs(found - accuracy_in_readme(what)) <= 0.005 and found >= 0.97


def test_scores_for_images_without_a_digit_are_low(model: Any) -> None:
    high = scores_of(model, empty_images(split_digits()[2], 300)).max(axis=1) > 0.5
    assert high.mean() <= 0.1


def test_the_thresholds_are_those_of_the_validation_images(model: Any) -> None:
    images, outputs = draw_all(split_digits()[1], draw_photo, copies=CHECK_COPIES)
    rows = threshold_rows(scores_of(model, images), outputs)
    with demo.THRESHOLDS.open() as file:
        committed = list(csv.reader(file))[1:]
    assert [row[0] for row in committed] == NAMES
    for row, cells in zip(rows, committed, strict=True):
        for value, cell in zip(row, cells[1:], strict=True):
            assert (value is None) == (cell == "") and (value is None or abs(value - float(cell)) <= 1e-3)


def regions_of(name: str) -> tuple[Region, ...] | None:
    text = EXPECTED[name]["regions"]
    return tuple(Region(*map(int, part.split(","))) for part in text.split(";")) if text else None


@pytest.mark.parametrize("name", EXPECTED)
def test_each_sample_is_classified_right_and_accepted(model: Any, name: str) -> None:
    classes = read_classes(demo.CLASSES)
    thresholds = {each: t.value for each, t in read_thresholds(demo.THRESHOLDS, classes).items()}
    image, regions = Image.open(demo.SAMPLES / name).convert("RGB"), regions_of(name)
    images = [image.crop((x, y, x + side, y + side)) for x, y, side in regions] if regions else [image]
    scores = scores_of(model, np.stack([pixels(each) for each in images]))
    result = Decider(classes, thresholds, 0.5).decide(scores, Options(regions))
    best = [region["predictions"][0] for region in result["regions"]]
    assert [each["class"] for each in best] == EXPECTED[name]["classes"]
    assert all(each["accepted"] for each in best)


def test_the_classes_are_the_models_outputs(model: Any) -> None:
    assert list(read_classes(demo.CLASSES)) == NAMES and model.output_shape == (None, len(NAMES))


def test_the_model_has_plain_layers(model: Any) -> None:
    plain = {"Conv2D", "MaxPooling2D", "Flatten", "Dropout", "Dense"}
    assert {type(layer).__name__ for layer in model.layers} == plain


def test_the_model_and_the_samples_are_small() -> None:
    assert demo.MODEL.stat().st_size < 1_000_000
    assert max(path.stat().st_size for path in demo.SAMPLES.rglob("*.*")) < 60_000
