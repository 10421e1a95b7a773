"""A small model that was trained on pixels / 255, served by a real worker."""

import subprocess
from pathlib import Path

import numpy as np
import requests

from tests import rendered_digits
from tests.stack import Stack


def test_a_model_trained_on_unit_pixels_is_served_at_its_own_accuracy(tmp_path: Path) -> None:
    model = rendered_digits.train(tmp_path / "model.h5")
    pixels, digits = rendered_digits.draw(100, 2)
    wanted = model.predict(pixels / np.float32(255), verbose=0)
    files = rendered_digits.save(tmp_path / "images", pixels, digits)
    (tmp_path / "classes.txt").write_text("\n".join(rendered_digits.CLASSES))
    (tmp_path / "thresholds.csv").write_text("class,a,b,c,d,e\n")
    stack = Stack(
        INFERENCE_MODEL=tmp_path / "model.h5",
        INFERENCE_CLASSES_FILE=tmp_path / "classes.txt",
        INFERENCE_THRESHOLDS_FILE=tmp_path / "thresholds.csv",
        INFERENCE_PREPROCESS="",
    )
    try:
        worker = stack.start_worker()
        (warning,) = requests.get(f"{stack.url}/cfg", timeout=5).json()["warnings"]
        assert warning.startswith(
            "INFERENCE_PREPROCESS is not set: the worker uses inception_v3, and the model"
        )
        assert warning in stack.logs("worker")
        assert accuracy(stack, files[:50], digits) < 0.5  # The default does not fit the model.
        worker = replaced(stack, worker, INFERENCE_PREPROCESS="unit")
        cfg = requests.get(f"{stack.url}/cfg", timeout=5).json()
        assert (cfg["preprocess"], cfg["warnings"], {"mean", "std"} & cfg.keys()) == ("unit", [], set())
        assert accuracy(stack, files, digits) == (wanted.argmax(1) == digits).mean() > 0.7
        replaced(stack, worker, INFERENCE_PREPROCESS="normalize", INFERENCE_MEAN="0", INFERENCE_STD="0.5")
        cfg = requests.get(f"{stack.url}/cfg", timeout=5).json()
        assert [cfg[name] for name in ("preprocess", "mean", "std", "warnings")] == [
            "normalize",
            [0.0],
            [0.5],
            [],
        ]
    finally:
        stack.close()


def replaced(stack: Stack, worker: subprocess.Popen[bytes], **environ: str) -> subprocess.Popen[bytes]:
    """Stop a worker and start another with more settings."""
    worker.terminate()
    worker.wait(30)
    return stack.start_worker(**environ)


def accuracy(stack: Stack, files: list[Path], digits: np.ndarray) -> float:
    """Return the share of images whose best class is correct."""
    answers = [next(iter(stack.classify(file).json()[0])) for file in files]
    return float(np.mean([each == str(digit) for each, digit in zip(answers, digits, strict=False)]))
