"""The allowlist of operations against TensorFlow's registry, and the inspection of real SavedModels."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow.core.framework import op_def_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.client import pywrap_tf_session as c_api

from worker import model_allowlist
from worker.model_allowlist import ALLOWED_OPERATIONS, ModelError, inspect_model
from worker.model_loader import load
from worker.saved_model_graph import message_class

GROUPS: dict[str, list[str]] = model_allowlist._OPERATIONS
WITH_STATE = {
    *("checkpoints", "control_flow", "random_numbers", "recurrent_layers_on_a_gpu"),
    *("tensor_arrays", "variables"),
}
IN_EACH_SAVED_MODEL = {"MergeV2Checkpoints", "RestoreV2", "SaveV2"}


def registry() -> dict[str, Any]:
    ops = op_def_pb2.OpList()
    ops.ParseFromString(c_api.TF_GetBuffer(c_api.TF_GetAllOpList()))
    return {each.name: each for each in ops.op}


REGISTRY = registry()


def is_place(name: str) -> bool:
    """Return whether an argument's name is that of a place: a file, a folder, another machine, a stream."""
    return bool(re.search(r"file|path|(^|_)dir(ectory)?($|_)|prefix|address|uri|(^|_)host$|stream", name))


def test_the_allowed_operations_exist_and_each_is_in_one_group() -> None:
    names = [name for group in GROUPS.values() for name in group]
    assert sorted(names) == sorted(ALLOWED_OPERATIONS)
    assert REGISTRY.keys() >= ALLOWED_OPERATIONS
    assert all(group == sorted(group) for group in GROUPS.values())


def test_no_allowed_operation_has_a_place_as_an_argument() -> None:
    found = {
        name
        for name in ALLOWED_OPERATIONS
        if any(is_place(each.name) for each in (*REGISTRY[name].input_arg, *REGISTRY[name].attr))
    }
    assert found == IN_EACH_SAVED_MODEL


def test_text_is_an_argument_only_of_checkpoints_and_image_files() -> None:
    texts = {
        name
        for name in ALLOWED_OPERATIONS
        if any(each.type == tf.string.as_datatype_enum for each in REGISTRY[name].input_arg)
    }
    assert texts - {*GROUPS["checkpoints"]} == {"DecodeImage", "DecodeJpeg", "DecodePng"}


def test_only_control_flow_calls_functions() -> None:
    calls = {
        name
        for name in ALLOWED_OPERATIONS
        if any(each.type in ("func", "list(func)") for each in REGISTRY[name].attr)
    }
    assert calls <= {*GROUPS["control_flow"]}


@pytest.mark.parametrize("group", sorted(GROUPS.keys() - WITH_STATE))
def test_calculations_have_no_state(group: str) -> None:
    assert [name for name in GROUPS[group] if REGISTRY[name].is_stateful] == []


def test_the_fields_that_are_read_are_tensorflows() -> None:
    todo = [(message_class().DESCRIPTOR, saved_model_pb2.SavedModel.DESCRIPTOR)]
    seen = set()
    while todo:
        ours, theirs = todo.pop()
        for field in ours.fields:
            other = theirs.fields_by_name[field.name]
            assert (field.number, field.type, field.is_repeated) == (
                *(other.number, other.type),
                other.is_repeated,
            )
            if field.message_type and field.full_name not in seen:
                todo.append((field.message_type, other.message_type))
            seen.add(field.full_name)
    assert len(seen) == 19


# ----------------------------------------------------------------- refused models


class Module(tf.Module):
    """A module whose signature also runs `extra`."""

    def __init__(self, extra: Callable[[], Any]) -> None:
        super().__init__()

        def call(x: Any) -> Any:
            extra()
            return tf.reduce_mean(x, [1, 2])

        self.call = tf.function(call, input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])


def exported(path: Path, extra: Callable[[], Any]) -> Path:
    module = Module(extra)
    tf.saved_model.save(module, str(path), signatures=module.call)
    return path


raw = tf.raw_ops


@tf.function(input_signature=[])
def one() -> Any:
    return tf.constant(1)


@pytest.mark.parametrize(
    ("operation", "extra"),
    [
        ("ReadFile", lambda: tf.io.read_file("/etc/passwd")),
        ("WriteFile", lambda: tf.io.write_file("/tmp/x", "x")),
        ("MatchingFiles", lambda: tf.io.matching_files("/tmp/*")),
        ("EagerPyFunc", lambda: tf.py_function(print, [1], [])),
        ("PyFunc", lambda: tf.numpy_function(print, [1], [])),
        ("PrintV2", lambda: tf.print("x", output_stream="file:///tmp/x")),
        ("RangeDataset", lambda: tf.data.Dataset.range(3).reduce(np.int64(0), lambda a, b: a + b)),
        ("TextLineDataset", lambda: raw.TextLineDataset(filenames="x", compression_type="", buffer_size=1)),
        ("TFRecordDataset", lambda: tf.data.TFRecordDataset("x").reduce(0, lambda a, _: a)),
        ("OneShotIterator", lambda: raw.OneShotIterator(
            dataset_factory=one.get_concrete_function(), output_types=[tf.int32], output_shapes=[[]]
        )),
        ("FIFOQueueV2", lambda: raw.FIFOQueueV2(component_types=[tf.int32])),
        ("InitializeTableFromTextFileV2", lambda: raw.InitializeTableFromTextFileV2(
            table_handle=raw.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64),
            filename="/etc/passwd", key_index=-2, value_index=-1,
        )),
        ("CreateSummaryFileWriter", lambda: raw.CreateSummaryFileWriter(
            writer=raw.SummaryWriter(), logdir="/tmp", max_queue=1, flush_millis=1, filename_suffix="x"
        )),
        ("RemoteCall", lambda: raw.RemoteCall(
            target="/job:x", args=[1], Tout=[tf.int32], f=one.get_concrete_function()
        )),
        ("CollectiveReduce", lambda: raw.CollectiveReduce(
            input=1.0, group_size=1, group_key=1, instance_key=1, merge_op="Add", final_op="Id",
            subdiv_offsets=[0],
        )),
        ("ImmutableConst", lambda: raw.ImmutableConst(
            dtype=tf.float32, shape=[1], memory_region_name="/etc/passwd"
        )),
        ("DebugIdentityV2", lambda: raw.DebugIdentityV2(input=1.0, debug_urls=["file:///tmp/x"])),
        ("DecodeWav", lambda: tf.audio.decode_wav("x")),
        ("TPUReplicateMetadata", lambda: raw.TPUReplicateMetadata(num_replicas=1)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_other_operations_are_refused(tmp_path: Path, operation: str, extra: Callable[[], Any]) -> None:
    with pytest.raises(ModelError, match=rf"expected only calculations, got .*\b{operation}\b"):
        inspect_model(exported(tmp_path / "model", extra))


def read_in_a_function() -> Any:
    return tf.function(tf.function(lambda: tf.io.read_file("x")))()


def read_in_a_branch() -> Any:
    return tf.cond(tf.random.uniform([]) > 2, lambda: tf.io.read_file("x"), lambda: "")


def read_in_a_loop() -> Any:
    return tf.while_loop(lambda i: i < 1, lambda i: i + tf.strings.length(tf.io.read_file("x")), [0])


@pytest.mark.parametrize("extra", [read_in_a_function, read_in_a_branch, read_in_a_loop])
def test_operations_in_functions_are_refused(tmp_path: Path, extra: Callable[[], Any]) -> None:
    with pytest.raises(ModelError, match=r"got .*ReadFile"):
        inspect_model(exported(tmp_path / "model", extra))


def test_operations_of_a_second_meta_graph_are_refused(tmp_path: Path) -> None:
    models = [exported(tmp_path / "model", int), exported(tmp_path / "other", read_in_a_function)]
    inspect_model(models[0])
    first, second = [
        saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()) for path in models
    ]
    first.meta_graphs.extend(second.meta_graphs)
    (models[0] / "saved_model.pb").write_bytes(first.SerializeToString())
    with pytest.raises(ModelError, match="got ReadFile, which"):
        inspect_model(models[0])


# ---------------------------------------------------------------- accepted models

AUGMENTATION = ("Flip", "Rotation", "Zoom", "Contrast", "Translation", "Brightness")


def transfer_learning(library: Any, name: str, side: int, augmented: bool = False) -> Any:
    """Return a model as in guides to transfer learning: augmentation, preprocessing, and a known base."""
    layers = library.layers
    x = given = library.Input((96, 96, 3))
    for each in AUGMENTATION if augmented else ():
        x = getattr(layers, f"Random{each}")(*[0.1] * (2 if each == "Translation" else each != "Flip"))(x)
    x = layers.CenterCrop(side, side)(layers.Resizing(90, 90)(x))
    x = layers.Normalization(mean=[0.4] * 3, variance=[1.0] * 3)(layers.Rescaling(1 / 255)(x))
    base = getattr(library.applications, name)(weights=None, include_top=False, input_shape=(side, side, 3))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(base(x)))
    return library.Model(given, layers.Dense(4, activation="softmax")(x))


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
@pytest.mark.parametrize(
    "name",
    [
        *("MobileNetV2", "InceptionV3", "EfficientNetV2B0", "ResNet50V2", "ConvNeXtTiny", "NASNetMobile"),
        *("DenseNet121", "Xception"),
    ],
)
def test_exports_of_keras_pass(tmp_path: Path, library: Any, name: str) -> None:
    model = transfer_learning(library, name, 80, augmented=name == "MobileNetV2")
    model.export(str(tmp_path / "model"))
    assert inspect_model(tmp_path / "model").format == "savedmodel"


def save_of_tf_keras(path: Path) -> Any:
    """Save a trained model, with its functions for training and its optimizer."""
    model = transfer_learning(tf_keras, "MobileNetV2", 64, augmented=True)
    model.compile("adam", "categorical_crossentropy")
    model.fit(np.zeros((4, 96, 96, 3)), np.eye(4), verbose=0)
    model.save(path, save_format="tf")
    return model


def save_of_tensorflow(path: Path) -> Any:
    """Save a model with its functions for training and with custom gradients."""
    model = transfer_learning(tf_keras, "MobileNetV2", 64, augmented=True)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    tf.saved_model.save(model, str(path), options=options)
    return model


def export_of_keras(path: Path) -> Any:
    """Export a model in inference mode.

    `export` of Keras 3.15 would export layers such as Resizing, and all layers after them, in training mode.
    """
    model = transfer_learning(keras, "MobileNetV2", 64, augmented=True)
    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = [tf.TensorSpec([None, 96, 96, 3], tf.float32)]
    archive.add_endpoint("serve", lambda x: model(x, training=False), signature)
    archive.write_out(str(path), verbose=False)
    return model


@pytest.mark.parametrize("save", [save_of_tf_keras, save_of_tensorflow, export_of_keras])
def test_saved_models_give_the_models_scores(tmp_path: Path, save: Callable[[Path], Any]) -> None:
    model = save(tmp_path / "model")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 96, 96, 3)).astype(np.float32)
    loaded = load(tmp_path / "model", inspect_model(tmp_path / "model"))
    np.testing.assert_allclose(loaded.call(tf.constant(pixels)), model(pixels, training=False), atol=1e-5)
