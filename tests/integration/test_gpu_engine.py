"""The engine's way on a GPU: XLA compiles for the CPU here, so everything except the speed is the same."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import demo
import worker.engine
from shared.settings import Settings
from worker.devices import Device
from worker.engine import Engine
from worker.model_allowlist import ModelError
from worker.run_plan import RunPlan, run_sizes
from worker.warm_up import warm_up

PIXELS = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), np.uint8)


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(worker.engine, "find_device", lambda settings: Device("gpu", "stand-in", 2**30))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    yield
    tf.config.experimental.enable_tensor_float_32_execution(False)


def build(**changes: Any) -> Engine:
    return Engine.build(replace(Settings(), model=demo.MODEL, **changes))


def exact(pixels: np.ndarray) -> np.ndarray:
    import keras

    prepared = keras.applications.inception_v3.preprocess_input(pixels.astype(np.float32))
    network = keras.models.load_model(demo.MODEL, compile=False)
    return np.asarray(network.predict(prepared, verbose=0))


def test_a_gpu_normalizes_as_the_training_did() -> None:
    import keras

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    network = keras.models.load_model(demo.MODEL, compile=False)
    wanted = network.predict((PIXELS / np.float32(255) - np.float32(mean)) / np.float32(std), verbose=0)
    found = build(preprocess="normalize", mean=mean, std=std).run(PIXELS)
    assert np.abs(found - wanted).max() <= 1e-4


@pytest.mark.parametrize(
    ("maximum", "wanted"), [(1, (1,)), (6, (1, 6)), (32, (1, 8, 32)), (64, (1, 8, 32, 64))]
)
def test_a_gpu_has_few_compiled_sizes(maximum: int, wanted: tuple[int, ...]) -> None:
    assert run_sizes(maximum, compiled=True) == wanted


@pytest.mark.parametrize("count", [1, 5, 8, 33, 40])
def test_scores_are_keras_scores_alone_and_in_any_batch(count: int) -> None:
    engine = build()
    warm_up(engine)
    assert np.abs(engine.run(PIXELS[:count]) - exact(PIXELS[:count])).max() <= 1e-4


def test_float32_is_not_tf32() -> None:
    tf.config.experimental.enable_tensor_float_32_execution(True)  # TensorFlow's default
    build()
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
    build(precision="tf32")
    assert tf.config.experimental.tensor_float_32_execution_enabled()


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_is_compared_with_float32(precision: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    engine = build(precision=precision)
    assert 0 < np.abs(engine.run(PIXELS) - exact(PIXELS)).max() <= 0.1
    assert f"{precision} compared with float32 on a CPU" in caplog.text


def test_a_gpus_precision_is_refused_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.engine, "find_device", lambda settings: Device("cpu", "stand-in"))
    with pytest.raises(
        ModelError, match=r"INFERENCE_PRECISION: expected float32 or bfloat16 on a CPU, got tf32"
    ):
        build(precision="tf32")


def test_a_gpu_with_other_scores_than_a_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import worker.tf_graph

    runner = worker.tf_graph.compiled_runner
    monkeypatch.setattr(
        worker.tf_graph, "compiled_runner", lambda frozen: lambda x: runner(frozen)(x)[:, ::-1]
    )
    with pytest.raises(ModelError, match=r"GPU computes other scores than a CPU.*INFERENCE_DEVICE=cpu"):
        build()


def test_a_card_without_xla_runs_the_graph_in_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.engine, "find_device", lambda settings: Device("gpu", "stand-in", xla=False))
    engine = build()
    assert not engine.graph.compiles
    assert np.abs(engine.run(PIXELS) - exact(PIXELS)).max() <= 1e-4


class Watch:
    """Records the sizes of the runs of an engine's graph; the first run of each size may be held back."""

    def __init__(self, engine: Engine) -> None:
        self.ran: list[int] = []
        self.compiled: list[int] = []
        self.release = threading.Event()
        self._run, self._lock = engine.graph.run, threading.Lock()
        engine.graph = replace(engine.graph, run=self.run)

    def run(self, pixels: np.ndarray) -> np.ndarray:
        with self._lock:
            first = len(pixels) not in self.ran
            self.ran.append(len(pixels))
        if first and len(pixels) != 8:
            self.release.wait(60)
            self.compiled.append(len(pixels))
        return self._run(pixels)


def test_no_job_waits_for_a_compilation() -> None:
    engine = build(input_batch=64)
    watch = Watch(engine)
    rest = warm_up(engine, 0.0)
    assert engine.input_batch == 8 and set(watch.ran) == {8}
    behind = threading.Thread(target=rest)
    behind.start()
    scores = engine.run(PIXELS)  # The other sizes are being compiled meanwhile.
    assert not watch.compiled and np.abs(scores - exact(PIXELS)).max() <= 1e-4
    watch.release.set()
    behind.join(120)
    assert engine.input_batch == 64 and engine.plan.sizes == (1, 8, 32, 64)
    assert sorted(watch.compiled) == [1, 32, 64]


def test_all_sizes_are_compiled_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.warm_up.available_cores", lambda: 3)
    engine = build(input_batch=64)
    watch = Watch(engine)
    behind = threading.Thread(target=warm_up(engine, 0.0))
    behind.start()
    while len(set(watch.ran)) < 4:  # All three runs have begun before one of them ends.
        assert behind.is_alive()
    assert not watch.compiled
    watch.release.set()
    behind.join(120)


def test_a_size_that_is_short_of_memory_only_beside_others_is_tried_again() -> None:
    engine = build(input_batch=32)
    failed = False

    def run(pixels: np.ndarray) -> np.ndarray:
        nonlocal failed
        if len(pixels) == 32 and not failed:
            failed = True
            raise tf.errors.NotFoundError(None, None, "No algorithm worked! Error messages: out of memory")
        return np.zeros((len(pixels), 20), np.float32)

    engine.graph = replace(engine.graph, run=run)
    warm_up(engine)
    assert failed and engine.plan.sizes == (1, 8, 32)


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
        tf.errors.NotFoundError(None, None, "No algorithm worked!  Error messages:"),
        tf.errors.InternalError(None, None, "Attempting to perform BLAS operation without BLAS support"),
        tf.errors.InternalError(
            None, None, "Autotuning failed for HLO: %cublas-gemm; No valid config found!"
        ),
        tf.errors.InternalError(None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
        MemoryError(),
    ],
    ids=str,
)
def test_every_form_of_too_little_memory_halves_the_batch(error: Exception) -> None:
    engine = build(input_batch=32)

    def run(pixels: np.ndarray) -> np.ndarray:
        if len(pixels) > 8:
            raise error
        return np.zeros((len(pixels), 20), np.float32)

    warm_up(engine)
    # By measured costs several runs of 8 may be cheaper than one run of 32, and then 32 would never be run.
    engine.plan = RunPlan(engine.plan.sizes, dict.fromkeys(engine.plan.sizes, 1.0))
    engine.graph = replace(engine.graph, run=run)
    assert engine.run(PIXELS).shape == (40, 20)
    assert engine.input_batch == 8 and engine.wanted == (1, 8)


def test_another_error_does_not_change_the_batch() -> None:
    engine = build(input_batch=32)
    warm_up(engine)

    def run(pixels: np.ndarray) -> np.ndarray:
        raise tf.errors.InvalidArgumentError(None, None, "Incompatible shapes")

    engine.graph = replace(engine.graph, run=run)
    with pytest.raises(tf.errors.InvalidArgumentError):
        engine.run(PIXELS)
    assert engine.input_batch == 32


def test_a_card_that_computes_nothing_any_more_is_lost() -> None:
    graph = build().graph
    error = tf.errors.InternalError(None, None, "CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure")
    # Here, TensorFlow finds no GPU, like after an Xid error: every operation on it fails.
    assert graph.is_device_lost(error)
    assert not graph.is_device_lost(tf.errors.ResourceExhaustedError(None, None, "OOM"))
    assert not replace(graph, on_gpu=False).is_device_lost(error)


# -------------------------------------------------------------------- XLA's compilations on disk

START = """
import demo, os, sys
from dataclasses import replace
from pathlib import Path
import worker.engine
from shared.settings import Settings
from worker.devices import Device
from worker.warm_up import warm_up
worker.engine.find_device = lambda settings: Device("gpu", "stand-in")
settings = replace(Settings(), model=demo.MODEL, input_batch=16, cache_dir=Path(sys.argv[1]))
engine = worker.engine.Engine.build(settings)
warm_up(engine)
print(*engine.plan.sizes)
"""


def start(folder: Path, sizes: str = "1 8 16") -> subprocess.CompletedProcess[str]:
    """Start a worker's engine in a process of its own, because XLA reads its options only once."""
    environ = {key: value for key, value in os.environ.items() if key != "TF_XLA_FLAGS"}
    command = [sys.executable, "-c", START, str(folder)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=200, check=True)
    assert done.stdout == f"{sizes}\n"
    return done


def compilations(folder: Path) -> dict[str, int]:
    return {each.name: each.stat().st_mtime_ns for each in folder.rglob("*.pb")}


def test_the_next_start_uses_the_compilations_of_the_first(tmp_path: Path) -> None:
    start(tmp_path)
    first = compilations(tmp_path)
    assert len(first) == 3  # one for each size
    start(tmp_path)
    assert compilations(tmp_path) == first


def test_damaged_compilations_are_made_again(tmp_path: Path) -> None:
    start(tmp_path)
    first = compilations(tmp_path)
    cut, *_ = tmp_path.rglob("*.pb")
    os.truncate(cut, 1000)
    (cut.parent / "unlisted.pb").write_bytes(b"killed while writing")
    start(tmp_path)
    second = compilations(tmp_path)
    assert second.keys() == first.keys() and second[cut.name] != first[cut.name]


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "INFERENCE_CACHE_DIR" in start(tmp_path / "file").stderr


def test_starts_that_end_during_the_warm_up_halve_the_batch(tmp_path: Path) -> None:
    start(tmp_path)
    (folder,) = tmp_path.iterdir()
    (folder / "unfinished").write_text("3")  # The process was ended three times, for example by XLA.
    done = start(tmp_path, "1 4")
    assert "the last 3 starts ended during the warm-up: INPUT_BATCH is halved 2 times" in done.stderr
    start(tmp_path)  # A start that has finished ends the series.
