"""The benchmark, a short run with the light model."""

import json
import os
import re
from pathlib import Path

import pytest
import requests
from PIL import Image

from cli.bench import measured_models, tuning
from cli.main import main
from tests.stack import Stack
from tests.unit.test_card_usage import SMI

PARTS = {"gateway", "redis", "worker"}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measured_models, "CACHE", tmp_path / "cache")


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let two graphics cards appear, which a program in place of the driver's describes."""
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SAMPLED", str(tmp_path / "sampled"))


def bench(tmp_path: Path, *arguments: str) -> dict:
    assert main(["bench", "--seconds", "1", "--json", str(tmp_path / "figures.json"), *arguments]) == 0
    (result,) = json.loads((tmp_path / "figures.json").read_text())
    return dict(result)


def test_a_run_measures_the_model_and_the_service_around_it(
    cards: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = bench(tmp_path, "--model", "light", "--clients", "1,16", "--plot", str(tmp_path), "--quiet")
    bare = result["bare"]
    assert bare["images_per_second"] > 0 and set(bare["in_turn"]["predict"]) == {"1", "32"}
    assert [run["clients"] for run in result["runs"]] == [1, 16, 0, 0]
    for run in result["runs"]:
        assert run["requests"] > 10 and run["failed"] == run["wrong"] == run["refused"] == 0
        assert 0 < run["p50_ms"] <= run["p95_ms"] <= run["p99_ms"]
        assert set(run["cpu_ms"]) == PARTS == set(run["memory_mb"]) and all(run["memory_mb"].values())
        assert 0 < run["model_busy"] <= 1.05
        assert {"queue", "decode", "infer", "total"} <= set(run["stages_ms"])
        assert [(card["name"], round(card["busy"], 2)) for card in run["cards"]] == [
            ("NVIDIA H200", 0.4),
            ("NVIDIA H200", 0.0),
        ]
        assert run["cores"].keys() == PARTS and 0 < sum(run["cores"].values()) < (os.cpu_count() or 1) + 1
    assert len(result["in_turn"]) == 3 and all(min(each.values()) > 0 for each in result["in_turn"])
    assert result["lone_adds_ms"] > 0
    assert sum(run["cpu_ms"]["worker"] for run in result["runs"]) > 0
    one, sixteen = result["runs"][:2]
    assert one["mean_batch"] == 1 < sixteen["mean_batch"] <= 16
    assert result["runs"][3]["rate"] == pytest.approx(0.8 * max(one["per_second"], sixteen["per_second"]))
    assert Image.open(tmp_path / "bench-light.png").size[0] > 1000
    assert "<svg" in (tmp_path / "bench-light.svg").read_text()[:1000]
    text, steps = capsys.readouterr()
    assert steps == ""
    texts = (
        "16 clients",
        "busy",
        "speed of the service / engine",
        "float32 / speed of model.predict",
        "memory: gateway",
        "graphics cards of this machine: NVIDIA H200, 40% busy, 8.4 of 150.8 GB",
    )
    assert all(each in text for each in texts)


def test_a_service_elsewhere_is_measured_and_without_a_terminal_each_step_is_a_line(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = measured_models.light().images[0].parent
    result = bench(tmp_path, "--url", stack.url, "--images", str(folder), "--clients", "2")
    assert result["runs"][0]["requests"] > 10 and result["runs"][0]["cpu_ms"] == {}
    assert "bare" not in result and result["runs"][0]["cards"] == []
    lines = capsys.readouterr().err.splitlines()
    counted = [re.match(r"classification-server: step (\d of 4): .+", line) for line in lines]
    assert [each and each[1] for each in counted] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"], lines


def test_the_gpu_report_measures_all_tables_without_a_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    command = ["bench", "--gpu", "--small", "--device", "cpu", "--quiet", "--json", str(file)]
    assert main(command) == 0
    report = json.loads(file.read_text())
    assert [row["start"] for row in report["start"]] == ["first", "second"]
    assert all(row["seconds until ready"] > 0 and row["worker MB"] > 50 for row in report["start"])
    exact, half = report["scores"]
    assert (exact["precision"], exact["largest difference"], exact["same best class"]) == (
        *("float32", "0", "40 of 40"),
    )
    assert half["precision"] == "bfloat16"
    for row in report["engine"][:1]:
        assert [name for name, speed in row.items() if isinstance(speed, float) and speed > 0] == [
            *("1 × 1", "1 × 2", "8 × 1", "8 × 2"),
        ]
    assert [row["clients"] for row in report["service"]] == [2, 8]
    assert all(row["photos/s"] > 0 and row["errors"] == 0 for row in report["service"])
    text = capsys.readouterr().out
    assert report["device"].endswith("(CPU)") and text.count(f"({report['device']})\n") == 4
    assert "The whole service" in text


def test_a_wrong_answer_is_counted(stack: Stack, tmp_path: Path) -> None:
    """Two different images are sent as the same image, so the second answer is wrong."""
    from cli.bench.load_generator import LoadGenerator, Plan

    one, two = measured_models.light().images[1:8:6]
    generator = LoadGenerator(Plan(stack.url, [str(one)], 1.0, clients=1))
    for path in (one, one, two):
        answer = requests.post(f"{stack.url}/classify", files={"blob": path.read_bytes()}, timeout=30)
        generator._check(0, answer.content)
    assert generator.outcome.wrong == 1


def test_the_smallest_settings_that_are_fast_enough_are_proposed() -> None:
    fast = {"precision": "bfloat16", "threads": 4, "sizes": {"1": 10.0, "8": 99.0, "32": 100.0}}
    slow = {"precision": "float32", "threads": 4, "sizes": {"1": 10.0, "8": 50.0, "32": 60.0}}
    assert tuning.propose([slow, fast]) == {
        "INPUT_BATCH": "8",
        "INFERENCE_PRECISION": "bfloat16",
        "INFERENCE_THREADS": "4",
    }
    assert tuning.propose([slow, fast | {"error": "no", "sizes": {}}][:1])["INPUT_BATCH"] == "32"
    level = {"precision": "bfloat16", "threads": 4, "sizes": {"1": 61.0}}
    assert tuning.propose([slow, level])["INFERENCE_PRECISION"] == "float32"
    half = slow | {"threads": 2}
    assert tuning.propose([slow, half])["INFERENCE_THREADS"] == "2"
    assert tuning.propose([slow, half | {"sizes": {"32": 40.0}}])["INFERENCE_THREADS"] == "4"


def test_a_folder_without_images_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--images", str(tmp_path), "--model", "light"]) == 2
    assert "expected images in" in capsys.readouterr().err
