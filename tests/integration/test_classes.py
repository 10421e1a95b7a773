"""`classes` against real folders, as Keras reads them, and a real model."""

from pathlib import Path

import keras
import pytest

import demo
from cli.classes.class_names import read_class_names
from cli.main import main
from tests.images import saved, scene


def test_folders_are_in_the_order_of_keras(tmp_path: Path) -> None:
    for name in ("b", "a 10", "a 9", "Z", "ñ", "á", ".ipynb_checkpoints"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(saved(scene(16, 16)))
    dataset = keras.utils.image_dataset_from_directory(tmp_path, image_size=(8, 8), verbose=False)
    found = read_class_names(tmp_path)
    assert found.names == dataset.class_names
    assert any(".ipynb_checkpoints is not counted as a class" in note for note in found.notes)


@pytest.mark.parametrize("by", ["option", "setting"])
def test_the_number_of_names_must_match_the_model(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "index.json").write_text('["a", "b"]')
    output = tmp_path / "classes.txt"
    command = ["classes", str(tmp_path / "index.json"), "--output", str(output)]
    if by == "setting":
        monkeypatch.setenv("INFERENCE_MODEL", str(demo.MODEL))
    else:
        command += ["--model", str(demo.MODEL)]
    assert main(command) == 1
    assert "expected 2 outputs for 2 names, got 20. Nothing was written." in capsys.readouterr().err
    assert not output.exists()


def test_a_classes_file_is_reported_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classes", str(demo.CLASSES)]) == 2
    assert "A text file with one name per line is already a classes file" in capsys.readouterr().err


def test_quiet_prints_errors_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("b", "a", ".ipynb_checkpoints"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "1.jpg").write_bytes(saved(scene(16, 16)))
    command = ["classes", str(tmp_path / "images")]
    assert main(command) == 0
    assert "note: " in capsys.readouterr().err
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr() == ("a\nb\n", "")


def test_names_that_match_the_model_are_written(tmp_path: Path) -> None:
    for name in demo.CLASSES.read_text().splitlines():
        (tmp_path / "images" / name).mkdir(parents=True)
    output = tmp_path / "classes.txt"
    command = ["classes", str(tmp_path / "images"), "--output", str(output), "--model", str(demo.MODEL)]
    assert main(command) == 0
    assert output.read_text().splitlines() == sorted(demo.CLASSES.read_text().splitlines())
