"""Thresholds that `calibrate` has written, in the running service."""

from pathlib import Path
from typing import Any

import pytest
import requests

import demo
from cli.calibrate.choose_thresholds import Goal
from cli.main import main
from demo.digits import NAMES
from demo.labelled import write_labelled
from tests.stack import Stack
from worker.thresholds_file import read_thresholds


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_labelled(folder, 18)
    return folder


@pytest.fixture(scope="module")
def output(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The thresholds file of the demo model with the default settings."""
    path = tmp_path_factory.mktemp("made") / "thresholds.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFERENCE_MODEL", str(demo.MODEL))
        patch.setenv("INFERENCE_CLASSES_FILE", str(demo.CLASSES))
        assert main(["calibrate", str(labelled), "-o", str(path), "--quiet"]) == 0
    return path


def test_the_service_serves_by_the_thresholds(labelled: Path, output: Path) -> None:
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


def test_a_worker_warns_of_thresholds_for_another_precision(output: Path) -> None:
    """The worker still serves. Its results name its precision, and the cache keeps precisions separate."""
    stack = Stack(INFERENCE_THRESHOLDS_FILE=output, RESULT_CACHE_TTL=60)

    def get(path: str) -> Any:
        return requests.get(f"{stack.url}{path}", timeout=60).json()

    def classified() -> tuple[str, str]:
        image = {"blob": (demo.SAMPLES / "siete.jpg").read_bytes()}
        answer = requests.post(f"{stack.url}/jobs", files=image, timeout=60)
        job = requests.get(f"{stack.url}{answer.json()['jobs'][0]['href']}?wait=30", timeout=60)
        return job.json()["result"]["precision"], job.headers["Cache-Status"].split("; ", 1)[1]

    try:
        first = stack.start_worker()
        assert get("/cfg")["warnings"] == get("/health/ready")["warnings"] == []
        assert [classified(), classified()] == [("float32", "fwd=miss; stored"), ("float32", "hit")]
        first.terminate()
        assert first.wait(30) == 0
        stack.start_worker(INFERENCE_PRECISION="bfloat16")
        assert [classified(), classified()] == [("bfloat16", "fwd=miss; stored"), ("bfloat16", "hit")]
        (warning,) = get("/cfg")["warnings"]
        assert "for precision bfloat16, got thresholds for precision float32. Run" in warning
        assert get("/health/ready")["warnings"] == [warning]
        assert [each["precision"] for each in get("/cfg")["models"]] == ["bfloat16"]
        assert warning in stack.logs("worker-2") and "thresholds for" not in stack.logs("worker-1")
    finally:
        stack.close()
