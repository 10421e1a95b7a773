"""A binary model and a model of two outputs, served by real workers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from tests.stack import Stack


def test_binary_models_and_models_of_several_outputs_are_served(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.model_cases", "keras", str(tmp_path), "binary", "two heads"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120)
    (tmp_path / "thresholds.csv").write_text("class,a,b,c,d,e\n")
    binary, heads = (np.load(tmp_path / f"{name}.npz") for name in ("binary", "two_heads"))
    second = binary["head0"][:, 0]
    environ = {"INFERENCE_PREPROCESS": "unit", "INFERENCE_THRESHOLDS_FILE": tmp_path / "thresholds.csv"}
    stack = Stack(**environ)
    try:
        worker = stack.start_worker(**files(tmp_path, "binary.h5", 2))
        assert_served(stack, tmp_path, binary["pixels"], np.stack([1 - second, second], 1))
        worker.terminate()
        worker.wait(30)
        stack.start_worker(**files(tmp_path, "two_heads.keras", 5), INFERENCE_OUTPUT="age")
        assert_served(stack, tmp_path, heads["pixels"], heads["head1"])
    finally:
        stack.close()


def files(folder: Path, model: str, classes: int) -> dict[str, str]:
    """Write a classes file, and return the variables that name the model and this file."""
    (folder / "classes.txt").write_text("".join(f"class {index}\n" for index in range(classes)))
    return {
        "INFERENCE_MODEL": str(folder / model),
        "INFERENCE_CLASSES_FILE": str(folder / "classes.txt"),
    }


def assert_served(stack: Stack, folder: Path, pixels: np.ndarray, wanted: np.ndarray) -> None:
    """Check that the served scores of each class are Keras' own."""
    cfg = requests.get(f"{stack.url}/cfg", timeout=5).json()
    assert cfg["input_dims"] == "16x16x3"
    for image, scores in zip(pixels, wanted, strict=True):
        Image.fromarray(image).save(folder / "image.png")
        (found,) = stack.classify(folder / "image.png", n=len(scores)).json()
        best = {f"class {index}": scores[index] for index in np.argsort(-scores)[: len(found)]}
        assert len(found) >= 2 and found == pytest.approx(best, abs=1e-4)
