"""Thresholds that `calibrate` has written, in the running service."""

from pathlib import Path

import pytest
import requests
from numpy.random import default_rng

import demo
from cli.main import main
from demo.digits import NAMES, draw_photo, output_of, parts
from prepare.thresholds import Goal
from tests.pictures import saved
from tests.stack import Stack
from worker.labels import read_thresholds


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """18 photos of each class."""
    _, validation, _ = parts()
    for value in range(10):
        for number, digit in enumerate(validation.digits[validation.values == value][:18]):
            for organ in range(2):
                folder = tmp_path / "images" / NAMES[output_of(value, organ)]
                folder.mkdir(parents=True, exist_ok=True)
                photo = draw_photo(digit, organ, default_rng((7, value, number, organ)))
                (folder / f"{number}.jpg").write_bytes(saved(photo))
    return tmp_path / "images"


def test_the_service_serves_by_the_thresholds(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERENCE_MODEL", str(demo.MODEL))
    monkeypatch.setenv("INFERENCE_CLASSES_FILE", str(demo.CLASSES))
    output = tmp_path / "thresholds.csv"
    assert main(["calibrate", str(labelled), "-o", str(output), "--quiet"]) == 0
    thresholds = read_thresholds(output, tuple(NAMES))
    stack = Stack(INFERENCE_THRESHOLDS_FILE=output)
    try:
        stack.start_worker()
        files = sorted(labelled.rglob("*.jpg"))[::6]
        blobs = [("blob", (each.name, each.read_bytes())) for each in files]
        jobs = requests.post(f"{stack.url}/jobs", files=blobs, timeout=60).json()["jobs"]
        accepted = []
        for file, job in zip(files, jobs, strict=True):
            told = requests.get(f"{stack.url}{job['href']}?wait=30", timeout=60).json()["result"]
            best = told["regions"][0]["predictions"][0]
            wanted = max(thresholds[best["class"]].value, Goal().minimum)
            assert best["threshold"] == pytest.approx(wanted, abs=1e-6)
            accepted += [best["class"] == file.parent.name] * best["accepted"]
    finally:
        stack.close()
    assert len(accepted) > 0.8 * len(files)
    assert sum(accepted) >= 0.95 * len(accepted)
