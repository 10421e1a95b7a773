"""`bench --images`: the folder is used with every model, or refused."""

import argparse
from pathlib import Path

import pytest

from cli.bench import bench_command, measured_models
from cli.main import main


@pytest.mark.parametrize("model", ["light", "inception", None])
def test_the_folder_of_images_is_used_with_the_example_models(
    model: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INFERENCE_MODEL", raising=False)
    monkeypatch.setattr(measured_models, "CACHE", tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    for name in ("inception_v3_299.h5", "classes.txt", "thresholds.csv"):
        (tmp_path / "cache" / name).touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").touch()
    options = argparse.Namespace(images=tmp_path / "photos", url=None, model=model)
    for subject in bench_command._subjects(options):
        assert subject.images == [tmp_path / "photos" / "1.jpg"]


def test_the_gpu_report_refuses_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--gpu", "--images", str(tmp_path)]) == 2
    assert "--images: expected no --gpu" in capsys.readouterr().err
