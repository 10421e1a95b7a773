"""A wrong model or setting stops the start within seconds, with one clear line and exit status 2."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

import demo
from tests.stack import ROOT, eventually, free_port

MAKE_MODELS = """
import os, sys
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import tf_keras
from tf_keras import layers
folder = sys.argv[1]
def save(name, *last):
    tf_keras.Sequential([layers.Input((8, 8, 3)), layers.Flatten(), *last]).save(f"{folder}/{name}.h5")
save("ten", layers.Dense(10, activation="softmax"))
save("lambda", layers.Lambda(lambda x: x * 2), layers.Dense(20, activation="softmax"))
tf_keras.Sequential([layers.Input((8, 8, 3)), layers.Dense(2)]).save_weights(f"{folder}/weights.h5")
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, "-c", MAKE_MODELS, str(folder)], check=True, capture_output=True)
    (folder / "text.h5").write_text("this is not a model")
    (folder / "nine.txt").write_text("".join(f"Class number {i}\n" for i in range(9)))
    rows = demo.THRESHOLDS.read_text().splitlines()
    (folder / "header.csv").write_text(rows[0])
    (folder / "bad.csv").write_text("\n".join([*rows[:2], "Digitus duo albus,0.9,1.0", *rows[3:]]))
    return folder


def start(models: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the whole service as a user does; it must end without a signal."""
    settings = {
        **demo.SETTINGS,
        "SERVER_PORT": str(free_port()),
        "SERVER_HOST": "127.0.0.1",
        "SERVER_DATA_DIR": str(models / "data"),
        "PATH": "/usr/bin:/bin",
        "HOME": str(models),
    }
    environ = {name: value.replace("MODELS", str(models)) for name, value in environ.items()}
    command = [sys.executable, "-m", "cli.main", "serve"]
    return subprocess.run(
        command, cwd=ROOT, env=settings | environ, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("environ", "texts"),
    [
        pytest.param({"INFERENCE_MODEL": "MODELS/none.h5"}, ["none.h5"], id="missing model"),
        pytest.param({"INFERENCE_MODEL": "MODELS/text.h5"}, ["text.h5", "HDF5"], id="not HDF5"),
        pytest.param({"INFERENCE_MODEL": "MODELS/weights.h5"}, ["weights.h5", "weights"], id="weights only"),
        pytest.param({"INFERENCE_MODEL": "MODELS/lambda.h5"}, ["lambda.h5", "Lambda"], id="Lambda layer"),
        pytest.param(
            {
                "INFERENCE_MODEL": "MODELS/ten.h5",
                "INFERENCE_CLASSES_FILE": "MODELS/nine.txt",
                "INFERENCE_THRESHOLDS_FILE": "MODELS/header.csv",
            },
            ["10", "9"],
            id="10 outputs, 9 classes",
        ),
        pytest.param({"INFERENCE_THRESHOLDS_FILE": "MODELS/bad.csv"}, ["bad.csv", "3"], id="bad row"),
        pytest.param({"INFERENCE_CLASSES_FILE": "MODELS/none.txt"}, ["none.txt"], id="missing classes"),
        pytest.param({"INPUT_BATCH": "0"}, ["INPUT_BATCH", "'0'", "1 to"], id="batch of 0"),
        pytest.param(
            {"INFERENCE_PREPROCESS": "foo"}, ["INFERENCE_PREPROCESS", "'foo'", "vgg16"], id="preprocess"
        ),
        pytest.param({"INPUT_HEIGHT": "299"}, ["INPUT_HEIGHT", "299", "32"], id="input height"),
        pytest.param({"RATE_LIMIT": "often"}, ["RATE_LIMIT", "'often'", "100/minute"], id="rate limit"),
    ],
)
def test_an_error_stops_the_start_with_one_line(
    models: Path, environ: dict[str, str], texts: list[str]
) -> None:
    began = time.monotonic()
    done = start(models, environ)
    printed = done.stdout + done.stderr
    assert done.returncode == 2, printed
    assert "Traceback" not in printed
    assert [line for line in printed.splitlines() if all(text in line for text in texts)], printed
    assert time.monotonic() - began < 30


def test_the_command_that_check_prints_serves(tmp_path: Path) -> None:
    """From another folder, and with a file name that has a space."""
    for file in (demo.MODEL, demo.CLASSES, demo.THRESHOLDS):
        shutil.copy(file, tmp_path / f"my {file.name}")
    port = free_port()
    environ = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SERVER_HOST": "127.0.0.1",
        "SERVER_PORT": str(port),
        "SERVER_DATA_DIR": str(tmp_path / "data"),
    }
    options = [
        f"--{name}=my {getattr(demo, name.upper()).name}" for name in ("model", "classes", "thresholds")
    ]
    checked = subprocess.run(
        ["classification-server", "check", *options],
        cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    command = checked.stdout.splitlines()[-1].strip()
    (tmp_path / "elsewhere").mkdir()
    with (tmp_path / "output").open("wb") as output:
        served = subprocess.Popen(
            f"exec env {command}",
            shell=True,
            cwd=tmp_path / "elsewhere",
            env=environ,
            stdout=output,
            stderr=output,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: is_ready(url) or served.poll() is not None, 90, "it is ready")
        assert served.poll() is None, (tmp_path / "output").read_text()
        with (demo.SAMPLES / "siete.jpg").open("rb") as photo:
            answer = requests.post(f"{url}/classify", files={"blob": photo}, timeout=30).json()
        assert next(iter(answer[0])) == "Digitus septem albus"
    finally:
        served.terminate()
        assert served.wait(30) == 0


def is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/health/ready", timeout=5).ok
    except requests.RequestException:
        return False
