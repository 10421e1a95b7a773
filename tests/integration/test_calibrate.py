"""`calibrate` on images of the demo's validation digits, and what the service makes of its thresholds."""

import contextlib
import dataclasses
import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import demo
from cli.calibrate.calibration import Method, calibrate
from cli.calibrate.choose_thresholds import Goal
from cli.calibrate.labelled_images import LabelledImage
from cli.calibrate.report_notes import notes
from cli.main import main
from demo.digits import NAMES
from demo.labelled import write_labelled
from shared.job import Options
from shared.queue.wire import digest
from shared.settings import Settings
from tests.browser import CHROMIUM, needs_chromium
from tests.images import oriented, saved, scene
from worker.__main__ import _describe, _load
from worker.decode import decode
from worker.engine import Engine
from worker.processor import processor_name
from worker.thresholds_file import COLUMNS, read_provenance, read_thresholds

MISSING, FEW = NAMES[-1], NAMES[-3]


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 photos of each class, but 3 of one and none of another; two files are no images."""
    folder = tmp_path_factory.mktemp("labelled")
    write_labelled(folder, 20)
    shutil.rmtree(folder / MISSING)
    for photo in sorted((folder / FEW).iterdir())[3:]:
        photo.unlink()
    (folder / NAMES[0] / "notes.txt").write_text("not an image")
    whole = next((folder / NAMES[1]).iterdir()).read_bytes()
    (folder / NAMES[1] / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="session")
def made(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The thresholds file that `calibrate` wrote for the demo model, and its JSON."""
    output = tmp_path_factory.mktemp("made") / "thresholds.csv"
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("INFERENCE_MODEL", str(demo.MODEL))
        patch.setenv("INFERENCE_CLASSES_FILE", str(demo.CLASSES))
        assert main(["calibrate", str(labelled), "--output", str(output), "--json", "--quiet"]) == 0
    return output, json.loads(printed.getvalue())


Run = Callable[..., int]


@pytest.fixture
def run(labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`calibrate` of the demo model into this test's folder."""
    monkeypatch.setenv("INFERENCE_MODEL", str(demo.MODEL))
    monkeypatch.setenv("INFERENCE_CLASSES_FILE", str(demo.CLASSES))

    def command(*options: str, folder: Path = labelled) -> int:
        return main(["calibrate", str(folder), "--output", str(tmp_path / "thresholds.csv"), *options])

    return command


def test_the_service_accepts_by_it_what_the_report_says(
    labelled: Path, made: tuple[Path, dict[str, Any]]
) -> None:
    output, facts = made
    service = _load(
        Settings(
            model=demo.MODEL, classes_file=demo.CLASSES, thresholds_file=output, redis_url="redis://unused"
        )
    )
    reported = {each["class"]: each for each in facts["classes"]}
    counts: dict[str, list[bool]] = {name: [] for name in NAMES}
    for file in sorted(labelled.rglob("*.jpg")):
        if file.name == "cut.jpg":
            continue
        pixels = decode(file.read_bytes(), None, service.spec)
        result = service.decider.decide(service.model.run(pixels), Options())
        best = result["regions"][0]["predictions"][0]
        assert best["threshold"] == pytest.approx(reported[best["class"]]["threshold"], abs=1e-6)
        if best["accepted"]:
            counts[best["class"]].append(best["class"] == file.parent.name)
    own = [name for name in NAMES if reported[name]["basis"] == "own"]
    assert len(own) >= 15
    assert all(np.mean(counts[name]) >= 0.95 for name in own)


def test_the_settings_that_shape_scores_are_named(made: tuple[Path, dict[str, Any]]) -> None:
    """Also those that nobody set and that the model has."""
    shape = {"INPUT_HEIGHT": 32, "INPUT_WIDTH": 32, "INPUT_CHANNELS": 3}
    assert made[1]["settings"].items() >= shape.items()
    assert "INPUT_HEIGHT=32" in made[0].with_suffix(".html").read_text()


def test_the_file_and_the_report_name_model_and_precision(made: tuple[Path, dict[str, Any]]) -> None:
    output, facts = made
    assert read_provenance(output) == {
        **{"model": facts["model"]["fingerprint"], "precision": "float32", "preprocess": "inception_v3"},
        **{"activation": "none", "color": "rgb", "resize": "antialias", "input": "32x32x3"},
    }
    assert facts["model"]["fingerprint"] == hashlib.sha256(demo.MODEL.read_bytes()).hexdigest()
    assert facts["model"]["precision"] == "float32"
    assert f"computed in float32 on {processor_name()}" in output.with_suffix(".html").read_text()


def test_a_description_s_id_depends_on_the_precision_but_not_on_warnings(
    made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """The result cache uses the id, so answers of another precision are never returned from it."""
    settings = Settings(model=demo.MODEL, classes_file=demo.CLASSES, thresholds_file=made[0])
    changed = tmp_path / "thresholds.csv"
    changed.write_text(made[0].read_text().replace("precision=float32", "precision=tf32"))
    engine = Engine.build(settings)
    same, bfloat16, other = (
        _describe(dataclasses.replace(settings, **each), engine, tuple(NAMES))
        for each in ({}, {"precision": "bfloat16"}, {"thresholds_file": changed})
    )
    assert (same["warnings"], len(bfloat16["warnings"]), len(other["warnings"])) == ([], 1, 1)
    assert "precision bfloat16, got thresholds for precision float32." in bfloat16["warnings"][0]
    assert len({digest(b"image", Options(), each) for each in (same, bfloat16, other)}) == 3
    names = same.keys() - {"id", "warnings"}
    text = repr(sorted((name, same[name]) for name in names))
    assert same["id"] == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_thresholds_outlive_a_report_that_fails(
    run: Run, tmp_path: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(found: object) -> str:
        raise RuntimeError("no picture can be drawn")

    monkeypatch.setattr("cli.calibrate.calibration_report.page", fail)
    with pytest.raises(RuntimeError, match="no picture"):
        run("--quiet", folder=labelled)
    assert (tmp_path / "thresholds.csv").read_text().startswith("class,")


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_scores_are_those_of_the_service(color: str, tmp_path: Path) -> None:
    entry = [keras.layers.Input((8, 8, 3)), keras.layers.Flatten()]
    weights = keras.initializers.RandomNormal(0, 0.2, seed=1)
    last = keras.layers.Dense(6, activation="softmax", kernel_initializer=weights)
    keras.Sequential([*entry, last]).save(tmp_path / "model.h5")
    (tmp_path / "classes.txt").write_text("a\nb\nc\nd\ne\nf\n")
    (tmp_path / "thresholds.csv").write_text(",".join(COLUMNS))
    settings = Settings(
        model=tmp_path / "model.h5",
        classes_file=tmp_path / "classes.txt",
        thresholds_file=tmp_path / "thresholds.csv",
        input_color=color,
        input_batch=4,
    )
    service = _load(settings)
    pictures = [saved(scene(40 + n, 30, n)) for n in range(9)] + [oriented(6), oriented(3, "PNG")]
    images = [LabelledImage(tmp_path / f"{n}", n % 6) for n in range(len(pictures))]
    for image, data in zip(images, pictures, strict=True):
        image.path.write_bytes(data)
    found = calibrate(settings, tuple("abcdef"), images, Method(Goal(), folds=2), lambda done: None)
    answers = found.scored.answers
    for at, data in enumerate(pictures):
        result = service.decider.decide(service.model.run(decode(data, None, service.spec)), Options())
        served = result["regions"][0]["predictions"]
        assert ["abcdef"[index] for index in answers.best[at]] == [each["class"] for each in served]
        assert answers.scores[at] == pytest.approx([each["score"] for each in served], abs=2e-6)


def test_accuracy_is_that_of_the_model(labelled: Path, made: tuple[Path, dict[str, Any]]) -> None:
    facts = made[1]
    assert facts["images"] == len(list(labelled.rglob("*.jpg"))) - 1
    assert facts["top1"]["value"] > 0.95
    assert facts["method"] == {
        "rule": "precision",
        "precision": 0.95,
        "confidence": None,
        "folds": 5,
        "holdout": None,
    }


def test_classes_without_enough_images_are_named(made: tuple[Path, dict[str, Any]]) -> None:
    output, facts = made
    basis = {each["class"]: each["basis"] for each in facts["classes"]}
    assert basis[MISSING] == basis[FEW] == "common"
    notes = " ".join(facts["notes"])
    assert f"without images: {MISSING}" in notes
    assert re.search(rf"too few answers: [^.]*{FEW}", notes)
    read = read_thresholds(output, tuple(NAMES))
    assert read[MISSING].value > 0 and read[MISSING].correct == -1


def test_files_that_are_no_images_are_named(made: tuple[Path, dict[str, Any]]) -> None:
    reasons = {Path(each["file"]).name: each["reason"] for each in made[1]["unreadable"]}
    assert set(reasons) == {"notes.txt", "cut.jpg"}
    assert "not an image of a known type" in reasons["notes.txt"]
    assert "is damaged" in reasons["cut.jpg"]


def test_the_report_stands_alone(made: tuple[Path, dict[str, Any]]) -> None:
    page = made[0].with_suffix(".html").read_text()
    assert "://" not in page
    assert page.count("data:image/svg+xml;base64,") == 3
    assert page.count("data:image/jpeg;base64,") == min(12, made[1]["images"] - made[1]["top1"]["count"])
    for name in NAMES:
        assert name in page


def test_names_from_files_are_text_in_the_report(run: Run, labelled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(labelled / NAMES[3], folder / NAMES[3])
    (folder / NAMES[3] / "<script>alert(1)<").write_text("not an image")
    assert run("--quiet", folder=folder) == 0
    page = (tmp_path / "thresholds.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;" in page and "<script>alert" not in page


def test_a_file_is_replaced_with_force_only(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thresholds.html").write_text("mine")
    assert run() == 2
    assert "thresholds.html. Name another --output, or add --force" in capsys.readouterr().err
    assert not (tmp_path / "thresholds.csv").exists()
    assert run("--force") == 0
    assert (tmp_path / "thresholds.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("output", ["none/thresholds.csv", "thresholds.html"])
def test_an_impossible_output_is_reported_before_the_model_is_run(
    output: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--output", str(tmp_path / output)) == 2
    assert re.search("--output: (there is no folder|expected a .csv file)", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_labels_gives_the_same(
    run: Run, labelled: Path, tmp_path: Path, made: tuple[Path, dict[str, Any]]
) -> None:
    files = sorted(file.relative_to(labelled) for file in labelled.rglob("*.*"))
    rows = "".join(f"{file},{file.parent}\n" for file in files)
    (tmp_path / "labels.csv").write_text("file,label\n" + rows + f"gone.jpg,{MISSING}\n")
    assert run("--labels", str(tmp_path / "labels.csv"), "--quiet") == 0
    assert (tmp_path / "thresholds.csv").read_text() == made[0].read_text()


def test_a_holdout_and_plain_statistics(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--holdout", "0.25", "--plain") == 0
    printed = capsys.readouterr().err
    assert re.search(r"evaluated on the \d+ hold-out images", printed)
    assert "not read: " in printed and "written: " in printed
    assert read_thresholds(tmp_path / "thresholds.csv", tuple(NAMES))[MISSING].top1_min == -1


def test_logits_are_refused_with_the_way_out(
    run: Run, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "classes.txt").write_text("a\nb\n")
    layers = [keras.layers.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    keras.Sequential(layers).save(tmp_path / "logits.h5")
    shutil.copytree(labelled / NAMES[3], tmp_path / "images" / "a")
    options = ("--model", str(tmp_path / "logits.h5"), "--classes", str(tmp_path / "classes.txt"))
    assert run(*options, folder=tmp_path / "images") == 2
    assert "scores: expected values from 0 to 1, got" in (printed := capsys.readouterr().err)
    assert "Set INFERENCE_ACTIVATION=softmax" in printed


def test_classes_and_model_must_fit(
    run: Run, tmp_path: Path, labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "classes.txt").write_text("\n".join(NAMES[:-1]))
    assert run("--classes", str(tmp_path / "classes.txt")) == 2
    assert "expected 20 classes, one for each output of the model" in capsys.readouterr().err


def test_without_readable_images_the_first_reason_is_reported(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images" / NAMES[0]).mkdir(parents=True)
    (tmp_path / "images" / NAMES[0] / "notes.txt").write_text("not an image")
    assert run(folder=tmp_path / "images") == 2
    assert "got 1 unreadable files. The first unreadable file is " in capsys.readouterr().err


def test_a_missed_precision_is_reported() -> None:
    share = {"value": 0.9, "low": 0.88, "high": 0.92, "count": 90, "of": 100}
    facts: dict[str, Any] = {"classes": [], "unreadable": [], "precision": share}
    facts["method"] = {"rule": "precision", "precision": 0.95}
    assert "90.0 % of the accepted answers are correct, less than the requested 95 %" in notes(facts)[0]
    facts["method"] = {"rule": "precision", "precision": 0.91}
    assert "less than" not in " ".join(notes(facts))


# -------------------------------------------------------------------- in a browser


@needs_chromium
def test_the_report_s_classes_are_sorted_by_a_press(made: tuple[Path, dict[str, Any]]) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(made[0].with_suffix(".html").as_uri())
        page.get_by_role("button", name="images").click()
        first = page.locator("#classes tbody tr").first.inner_text()
        page.get_by_role("button", name="images").click()
        last = page.locator("#classes tbody tr").last.inner_text()
        width = page.evaluate("document.documentElement.scrollWidth")
        pictures = page.evaluate("[...document.images].every((each) => each.naturalWidth > 0)")
        browser.close()
    assert first.startswith(MISSING) and last.startswith(MISSING)
    assert (faults, width, pictures) == ([], 390, True)
