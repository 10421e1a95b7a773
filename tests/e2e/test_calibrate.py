"""Thresholds that `calibrate` has written, in the running service."""

from pathlib import Path

import pytest
import requests

import demo
from cli.calibrate.choose_thresholds import Goal
from cli.main import main
from demo.digits import NAMES
from demo.labelled import write_labelled
from tests.stack import Stack
from worker.thresholds_file import read_thresholds


def test_the_service_serves_by_the_thresholds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled = tmp_path / "images"
    write_labelled(labelled, 18)
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
            result = requests.get(f"{stack.url}{job['href']}?wait=30", timeout=60).json()["result"]
            best = result["regions"][0]["predictions"][0]
            wanted = max(thresholds[best["class"]].value, Goal().minimum)
            assert best["threshold"] == pytest.approx(wanted, abs=1e-6)
            accepted += [best["class"] == file.parent.name] * best["accepted"]
    finally:
        stack.close()
    assert len(accepted) > 0.8 * len(files)
    assert sum(accepted) >= 0.95 * len(accepted)
