"""The engine's start-up checks, precision and memory. test_model.py compares its scores with Keras."""

import gc
import itertools
import logging
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import demo
import worker.precision
from shared.settings import Settings
from worker.engine import Engine
from worker.faster_way import FasterWay
from worker.model_allowlist import ModelError
from worker.preprocessing import named_preprocessor
from worker.run_plan import RunPlan, plan_runs
from worker.tensorflow_compat import FrozenGraph, session_runner
from worker.warm_up import warm_up

PIXELS = np.random.default_rng(1).integers(0, 256, (12, 32, 32, 3), np.uint8)


def build(path: Path = demo.MODEL, **changes: Any) -> Engine:
    return Engine.build(replace(Settings(), model=path, **changes))


def saved(path: Path, *layers: Any, entry: tuple[int | None, ...] = (8, 8, 3)) -> Path:
    keras.Sequential([keras.Input(entry), *layers]).save(path)
    return path


def test_the_largest_size_is_the_batch_of_the_settings() -> None:
    engine = build(input_batch=5)
    assert (engine.input_batch, engine.plan.sizes) == (5, (1, 2, 3, 4, 5))
    assert np.abs(engine.run(PIXELS) - build().run(PIXELS)).max() <= 1e-5


@pytest.mark.parametrize("count", [1, 5, 12])
def test_scores_do_not_depend_on_the_neighbours(count: int) -> None:
    engine = build()
    alone = np.concatenate([engine.run(PIXELS[i : i + 1]) for i in range(count)])
    assert np.abs(engine.run(PIXELS[:count]) - alone).max() <= 1e-4


def test_a_batch_that_is_run_in_parts_has_the_same_scores() -> None:
    engine = build(input_batch=8)
    whole = engine.run(PIXELS)
    # With these costs, the plan for 8 inputs is (3, 3, 1, 1), and the plan for 4 inputs is (3, 1).
    plan = RunPlan((1, 2, 3, 4, 8), {1: 1.0, 2: 4.0, 3: 3.0, 4: 5.0, 8: 99.0})
    ran: list[int] = []
    graph = engine.graph
    watching = replace(graph, run=lambda pixels: (ran.append(len(pixels)), graph.run(pixels))[1])
    watched = replace(engine, graph=watching, plan=plan)
    assert np.abs(watched.run(PIXELS) - whole).max() <= 1e-5
    assert ran == [3, 3, 1, 1, 3, 1]


def test_the_warm_up_plans_every_number_of_inputs() -> None:
    engine = build(input_batch=6)
    warm_up(engine)
    assert {count: sum(runs) >= count for count, runs in engine.plan.plans.items()} == dict.fromkeys(
        range(1, 7), True
    )
    assert all(size in engine.plan.sizes for runs in engine.plan.plans.values() for size in runs)


def test_a_slow_moment_of_the_machine_does_not_change_the_plans() -> None:
    quick = build(input_batch=8)
    ran = itertools.count()

    def graph(pixels: np.ndarray) -> np.ndarray:
        slow = 14 <= next(ran) < 21  # These are as many runs as one size has.
        time.sleep(0.01 if slow else 0.001)
        return np.zeros((len(pixels), 20), np.float32)

    engine = replace(quick, graph=replace(quick.graph, run=graph))
    warm_up(engine)
    assert set(engine.plan.plans.values()) == {(1,), (2,), (3,), (4,), (6,), (8,)}


def test_runs_are_planned_by_what_they_cost() -> None:
    sizes = (1, 2, 4, 8, 16, 24, 32)
    heavy = plan_runs({size: size * 30.0 for size in sizes})
    assert heavy[17] == (16, 1) and heavy[21] == (16, 4, 1)
    assert heavy[23] == (24,) and heavy[32] == (32,)
    light = plan_runs({size: 1.0 + size / 100 for size in sizes})
    assert light[17] == (24,) and light[5] == (8,)
    small_is_fast = plan_runs({1: 1.0, 8: 4.0, 32: 30.0})
    assert small_is_fast[32] == (8, 8, 8, 8) and small_is_fast[3] == (1, 1, 1)


# -------------------------------------------------------------------- precision


def test_bfloat16_is_used_only_when_it_is_set() -> None:
    exact = build().run(PIXELS)
    reduced = build(precision="bfloat16").run(PIXELS)
    if worker.precision.has_bfloat16():
        assert 0 < np.abs(reduced - exact).max() <= 0.1
    # The setting of one engine must not affect the next engine of the process.
    assert (build().run(PIXELS) == exact).all()


def test_a_processor_without_bfloat16_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker.precision, "has_bfloat16", lambda: False)
    build(precision="bfloat16")
    assert "has no bfloat16" in caplog.text


def scores(*tops: int, high: float = 0.9) -> np.ndarray:
    rest = (1 - high) / 3
    return np.array([[high if i == top else rest for i in range(4)] for top in tops], np.float32)


@pytest.mark.parametrize(
    ("exact", "reduced", "words"),
    [
        pytest.param(scores(0, 1), scores(0, 1, high=0.75), "scores differ by up to 0.15", id="scores"),
        pytest.param(scores(0, 1, high=0.28), scores(0, 2, high=0.28), "50 % of the top", id="top answers"),
        pytest.param(scores(0), scores(0) * np.nan, "differ by up to nan", id="not numbers"),
    ],
)
def test_a_precision_that_changes_the_answers_is_refused(
    exact: np.ndarray, reduced: np.ndarray, words: str
) -> None:
    with pytest.raises(ModelError, match=f"INFERENCE_PRECISION=bfloat16.*{words}"):
        worker.precision.check_precision("bfloat16", "cpu", exact, reduced)


def test_a_model_in_mixed_precision_answers_in_float32(tmp_path: Path) -> None:
    layers = [keras.layers.Flatten(), keras.layers.Dense(4, activation="softmax", dtype="mixed_bfloat16")]
    answer = build(saved(tmp_path / "model.h5", *layers)).run(PIXELS[:, :8, :8])
    assert answer.dtype == np.float32 and np.abs(answer.sum(1) - 1).max() <= 0.02


# -------------------------------------------------------------------- what stops the start


def test_a_model_with_damaged_weights_is_refused(tmp_path: Path) -> None:
    layers = [
        keras.layers.Flatten(),
        keras.layers.Dense(4, bias_initializer=keras.initializers.Constant(np.nan)),
    ]
    with pytest.raises(ModelError, match="scores that are not finite numbers"):
        build(saved(tmp_path / "model.h5", *layers))


def test_an_unsupported_input_size_is_reported_on_one_line(tmp_path: Path) -> None:
    layers = [keras.layers.MaxPooling2D(16), keras.layers.Conv2D(4, 3), keras.layers.GlobalMaxPooling2D()]
    path = saved(tmp_path / "model.h5", *layers, entry=(None, None, 3))
    with pytest.raises(ModelError, match=r"fails on images of 16×20×3: .*Negative dimension") as caught:
        build(path, input_height=16, input_width=20)
    assert "\n" not in str(caught.value)


def test_other_channels_than_the_models_are_reported_with_both_numbers() -> None:
    with pytest.raises(ModelError, match="INPUT_CHANNELS: expected the model's 3, got 1"):
        build(input_channels=1)


def test_the_error_of_a_grey_model_lists_the_preprocessing_that_fits(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.h5", keras.layers.Flatten(), keras.layers.Dense(4), entry=(8, 8, 1))
    with pytest.raises(
        ModelError, match=r"expected a name for images of 1 channels, got resnet50\. Set it to one of: (.*)"
    ) as e:
        build(path, preprocess="resnet50")
    named = str(e.value).split("Set it to one of: ")[1].split(", ")
    assert "inception_v3" in named and "mobilenet_v2" in named and "vgg16" not in named
    for name in named:
        assert build(path, preprocess=name).run(PIXELS[:, :8, :8, :1]).shape == (12, 4)


# -------------------------------------------------------------------- the process's own settings


def test_channels_are_last_whatever_the_users_keras_json_says(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = PIXELS.astype(np.float32)
    wanted = named_preprocessor("vgg16")(pixels.copy())
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        assert (named_preprocessor("vgg16")(pixels) == wanted).all()
    finally:
        keras.config.set_image_data_format(before)


def test_building_again_in_one_process_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    Engine.build(replace(Settings(), model=demo.MODEL, threads=1))
    assert not caplog.records


def test_the_model_is_freed_once_it_is_frozen() -> None:
    def models() -> int:
        return sum(isinstance(each, keras.Model) for each in gc.get_objects())

    before = models()
    engine = build()
    assert models() == before
    assert engine.run(PIXELS).shape == (12, 20)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads in Linux' /proc")
def test_the_model_has_as_many_threads_as_it_is_given_cores() -> None:
    def threads(cores: int) -> int:
        """Count threads in a process of its own, because TensorFlow makes its pool once."""
        program = (
            "import dataclasses, os, demo; from shared.settings import Settings; "
            "from worker.engine import Engine; from worker.warm_up import warm_up; "
            f"settings = dataclasses.replace(Settings(), model=demo.MODEL, threads={cores}); "
            "warm_up(Engine.build(settings)); print(len(os.listdir('/proc/self/task')))"
        )
        return int(subprocess.check_output([sys.executable, "-c", program], timeout=120))

    assert threads(5) - threads(1) == 4


def test_the_calling_thread_or_a_pool_runs_the_operations() -> None:
    ran_in: list[int] = []

    def note_thread(pixels: np.ndarray) -> np.ndarray:
        ran_in.append(threading.get_ident())
        return pixels.astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, 1, 1, 1], tf.uint8)])
    def graph(pixels: Any) -> Any:
        return tf.numpy_function(note_thread, [pixels], tf.float32)

    function = graph.get_concrete_function()
    definition = function.graph.as_graph_def()
    frozen = FrozenGraph(definition, function.inputs[0].name, function.outputs[0].name, (1, 1, 1))
    run = session_runner(frozen, 0, device="cpu")
    assert isinstance(run, FasterWay)
    pixels = np.full((3, 1, 1, 1), 7, np.uint8)
    assert [(way(pixels) == 7).all() for way in (run.usual, run.other)] == [True, True]
    pool, caller = ran_in
    assert caller == threading.get_ident() != pool


def test_both_ways_to_run_the_model_have_the_same_scores() -> None:
    run = build().graph.run
    assert isinstance(run, FasterWay)
    for count in (1, 5, 12):
        assert (run.usual(PIXELS[:count]) == run.other(PIXELS[:count])).all()


# -------------------------------------------------------------------- too little memory


def starved(engine: Engine, maximum: int, ran: list[int]) -> Engine:
    """Return the engine of a machine without memory for more than `maximum` inputs at once."""
    enough = engine.graph.run

    def graph(pixels: np.ndarray) -> np.ndarray:
        ran.append(len(pixels))
        if len(pixels) > maximum:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return enough(pixels)

    return replace(engine, graph=replace(engine.graph, run=graph))


def test_a_batch_that_needs_too_much_memory_is_run_in_halves_from_then_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole, ran = build(), []
    warm_up(whole)
    # By measured costs two runs of 4 may be cheaper than one run of 8, and then 8 would never be run.
    whole.plan = RunPlan(whole.plan.sizes, dict.fromkeys(whole.plan.sizes, 1.0))
    engine, pixels = starved(whole, 5, ran), np.concatenate([PIXELS, PIXELS, PIXELS])[:32]
    wanted = whole.run(pixels)
    assert np.allclose(engine.run(pixels), wanted, atol=1e-5)
    assert engine.input_batch == 4 and max(ran[-8:]) == 4
    assert "not enough memory for 32 inputs at once: from now on the model runs at most 16" in caplog.text
    ran.clear()
    assert np.allclose(engine.run(pixels), wanted, atol=1e-5) and max(ran) == 4


def test_the_warm_up_finds_the_largest_batch_for_the_memory() -> None:
    engine = starved(build(), 5, [])
    warm_up(engine)
    assert engine.input_batch == 3  # This is half of 6, the smallest size that needs too much memory.
    with pytest.raises(tf.errors.ResourceExhaustedError):
        warm_up(starved(build(), 0, []))
