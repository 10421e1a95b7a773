"""The names that a model file may contain, and the names that are refused. TensorFlow is not imported."""

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from worker.model_allowlist import ModelError, inspect_model
from worker.saved_model_graph import message_class

Config = dict[str, Any]


def layer(name: str, config: Any = None, **more: Any) -> Config:
    return {"class_name": name, "config": {} if config is None else config, **more}


def sequential(*layers: Any, **more: Any) -> Config:
    return {"class_name": "Sequential", "config": {"name": "model", "layers": list(layers)}, **more}


def h5(path: Path, config: Any, version: str = "2.15.0") -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
        file.attrs["keras_version"] = version
    return path


def keras_zip(path: Path, config: Config) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
    return path


def op_layer(operation: str) -> Config:
    return layer("TensorFlowOpLayer", {"node_def": {"name": "x", "op": operation}, "constants": {}})


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(layer("Conv2D", module="keras.layers", registered_name=None), id="layer"),
        pytest.param(layer("Functional", module="keras.src.models.functional"), id="Keras 3"),
        pytest.param(layer("Functional", module="tf_keras.src.engine.functional"), id="tf_keras"),
        pytest.param(layer("LayerScale", module="keras.src.applications.convnext"), id="ConvNeXt"),
        pytest.param(layer("Custom>CustomScaleLayer"), id="InceptionResNetV2 in H5"),
        pytest.param(
            layer("CustomScaleLayer", registered_name="Custom>CustomScaleLayer"), id="InceptionResNetV2"
        ),
        pytest.param(
            layer("Constant", module="tensorflow.python.ops.init_ops_v2", registered_name="Constant"),
            id="EfficientNetV2 of tf_keras",
        ),
        pytest.param(layer("TFOpLambda", {"function": "math.truediv"}), id="x / 255 in tf_keras"),
        pytest.param(layer("TFOpLambda", {"function": "compat.v1.transpose"}), id="of TensorFlow 1"),
        pytest.param(
            layer("SlicingOpLambda", {"function": "__operators__.getitem"}), id="x[:, 1] in tf_keras"
        ),
        pytest.param(op_layer("RealDiv"), id="x / 255 in TensorFlow 2.1"),
        pytest.param(
            layer("TrueDivide", module="keras.src.ops.numpy", registered_name="TrueDivide"), id="x / 255"
        ),
        pytest.param(layer("FixedDropout"), id="known layer of a package"),
        pytest.param(
            layer("FixedDropout", module="efficientnet.model", registered_name="FixedDropout"),
            id="known layer of a package with its module",
        ),
        pytest.param(layer("Cast", module="keras.src.ops.core"), id="cast"),
        pytest.param(layer("function", "gelu", module="builtins"), id="activation"),
        pytest.param(
            sequential(compile_config={"optimizer": layer("Adam", module="keras.optimizers")}),
            id="compiled model within the model",
        ),
    ],
)
def test_names_of_keras_own_pass(tmp_path: Path, found: Config) -> None:
    assert found["class_name"] in inspect_model(h5(tmp_path / "model.h5", sequential(found))).layers
    assert found["class_name"] in inspect_model(keras_zip(tmp_path / "model.keras", sequential(found))).layers


@pytest.mark.parametrize(
    ("found", "words"),
    [
        pytest.param(layer("Lambda"), "Lambda layer", id="Lambda"),
        pytest.param(layer("Custom>Lambda"), "Lambda layer", id="registered Lambda"),
        pytest.param(layer("__lambda__", {"value": "..."}), "Lambda layer", id="function's code"),
        pytest.param(layer("TimeDistributed", {"layer": layer("Lambda")}), "Lambda layer", id="in a wrapper"),
        pytest.param(sequential(layer("Lambda")), "Lambda layer", id="in a model within the model"),
        pytest.param(layer("TFOpLambda", {"function": "io.write_file"}), "io.write_file", id="writes files"),
        pytest.param(
            layer("TFOpLambda", {"function": "load_library"}), "load_library", id="runs machine code"
        ),
        pytest.param(layer("TFOpLambda", {"function": "math.x.io"}), "math.x.io", id="deeper than known"),
        pytest.param(layer("TFOpLambda", "io.write_file"), "TFOpLambda", id="function in another place"),
        pytest.param(op_layer("WriteFile"), "TensorFlowOpLayer", id="graph operation"),
        pytest.param(
            layer("RNN", {"cell": layer("ResidualWrapper")}), "ResidualWrapper", id="code in a cell"
        ),
        pytest.param(layer("ClassMethod"), "ClassMethod", id="method of any class"),
        pytest.param(layer("TFSMLayer"), "TFSMLayer", id="loads another model"),
        pytest.param(layer("StringLookup"), "StringLookup", id="reads a file"),
        pytest.param(layer("Dense", module="os"), "Dense of os", id="module outside of Keras"),
        pytest.param(layer("system", module="os"), "system of os", id="function outside of Keras"),
        pytest.param(layer("Dense", registered_name="Lambda"), "Dense of Lambda", id="other registered name"),
        pytest.param(layer("Dense", registered_name="ours>Dense"), "Dense of ours>Dense", id="custom class"),
        pytest.param(layer("ours>Mine"), "ours>Mine", id="registered custom layer"),
        pytest.param(layer("Mine"), "Mine", id="unregistered custom layer"),
        pytest.param(layer("function", "eval", module="builtins"), "function eval", id="Python's function"),
        pytest.param(layer("function", "get_file", module="keras.utils"), "get_file", id="Keras' function"),
        pytest.param(layer("os.system", module="keras.src.losses"), "os.system", id="module of a module"),
        pytest.param(layer("Map", module="keras.src.ops.core"), "Map", id="operation that takes a function"),
        pytest.param(
            layer("FixedDropout", module="os", registered_name=None), "FixedDropout of os", id="import"
        ),
        pytest.param(
            layer("FixedDropout", registered_name="ours>FixedDropout"), "FixedDropout", id="other alias"
        ),
        pytest.param({"class_name": ["Dense"], "config": {}}, "Dense", id="class name that is a list"),
        pytest.param(
            sequential(compile_config={"loss": layer("Mine", module="ours")}),
            "Mine of ours",
            id="own loss within",
        ),
    ],
)
def test_other_names_are_refused_and_quoted(tmp_path: Path, found: Config, words: str) -> None:
    for path in (
        h5(tmp_path / "model.h5", sequential(found)),
        keras_zip(tmp_path / "model.keras", sequential(found)),
    ):
        with pytest.raises(ModelError, match=words) as caught:
            inspect_model(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_all_custom_layers_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="names Mine, Yours, which"):
        inspect_model(h5(tmp_path / "model.h5", sequential(layer("Yours"), layer("Mine"), layer("Dense"))))


def test_the_training_configuration_is_not_checked(tmp_path: Path) -> None:
    config = sequential(layer("Dense"), compile_config={"loss": layer("Mine", module="ours")})
    assert inspect_model(keras_zip(tmp_path / "model.keras", config)).layers == ("Dense", "Sequential")


def test_an_h5_of_keras_3_with_calculations_gets_a_hint_to_the_keras_form(tmp_path: Path) -> None:
    config = sequential(layer("TrueDivide"))
    with pytest.raises(ModelError, match=r"TrueDivide.*A \.keras file of Keras 3 can store a calculation"):
        inspect_model(h5(tmp_path / "model.h5", config, version="3.15.1"))


@pytest.mark.parametrize(
    "config",
    [
        pytest.param("{", id="cut off"),
        pytest.param("[" * 100_000, id="too deep"),
        pytest.param("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), id="no text"),
    ],
)
def test_an_unreadable_configuration_is_reported(tmp_path: Path, config: str) -> None:
    with pytest.raises(ModelError, match="configuration can't be read"):
        inspect_model(h5(tmp_path / "model.h5", config))


def test_a_file_that_is_no_model_is_refused_though_it_is_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = [1, 2]
    with pytest.raises(ModelError, match=r"is not a Keras model\. Save the model with model\.save"):
        inspect_model(tmp_path / "data.h5")


def test_an_unreadable_file_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = h5(tmp_path / "model.h5", sequential())

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)  # Tests in containers run as root, who may read every file.
    with pytest.raises(ModelError, match=r"model\.h5 can't be read: Permission denied"):
        inspect_model(path)


def saved_model(folder: Path, graph: bytes = b"") -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(graph)
    (folder / "variables" / "variables.index").write_bytes(b"1")
    return folder


def graphs(*contents: Config) -> bytes:
    """Return a SavedModel with a meta graph of each content."""
    meta_graphs = [{"graph_def": each} for each in contents]
    return message_class()(meta_graphs=meta_graphs).SerializeToString()


def node(op: str, *called: str) -> Config:
    return {"op": op, "attr": [{"value": {"func": {"name": name}}} for name in called]}


def function(name: str, *nodes: Config) -> Config:
    return {"signature": {"name": name}, "node_def": nodes}


def nested(depth: int) -> bytes:
    """Return a SavedModel in whose node lists of functions' names have attributes, which have lists again."""
    inner: Config = {"name": "f"}
    for _ in range(depth):
        inner = {"name": "f", "attr": [{"value": {"list": {"func": [inner]}}}]}
    return graphs({"node": [{"op": "Relu", "attr": inner["attr"]}]})


def test_a_saved_models_fingerprint_is_of_all_its_files(tmp_path: Path) -> None:
    one, other = saved_model(tmp_path / "one"), saved_model(tmp_path / "other")
    assert inspect_model(one) == inspect_model(other)
    (other / "variables" / "variables.index").write_bytes(b"2")
    assert inspect_model(one).fingerprint != inspect_model(other).fingerprint


DEFAULT = {"default_value": {"func": {"name": "ReadFile"}}}
FUNCTIONS = {"function": [function("f", node("Relu"), node("If", "g")), function("g", node("Add"))]}


def test_a_saved_model_of_calculations_passes(tmp_path: Path) -> None:
    content = graphs({"node": [node("MatMul"), node("PartitionedCall", "f")], "library": FUNCTIONS})
    assert inspect_model(saved_model(tmp_path / "model", content)).format == "savedmodel"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param([{"node": [node("Relu"), node("WriteFile")]}], "WriteFile", id="graph"),
        pytest.param([{"node": [node("B"), node("A"), node("B")]}], "A, B", id="all at once"),
        pytest.param([{"node": [node("relu")]}], "relu", id="name in small letters"),
        pytest.param([{"node": [{}]}], "", id="no name"),
        pytest.param(
            [{"library": {"function": [function("f", node("ReadFile"))]}}], "ReadFile", id="unused function"
        ),
        pytest.param([{}, {"node": [node("ReadFile")]}], "ReadFile", id="second meta graph"),
        pytest.param(
            [{"node": [node("If", "f", "ReadFile")], "library": FUNCTIONS}],
            r"ReadFile \(an undefined function\)",
            id="operation as a branch",
        ),
        pytest.param(
            [{"library": {"function": [{"attr": node("If", "ReadFile")["attr"]}]}}],
            r"ReadFile \(an undefined function\)",
            id="function's attribute",
        ),
        pytest.param(
            [{"library": {"function": [{"signature": {"attr": [DEFAULT]}}]}}],
            r"ReadFile \(an undefined function\)",
            id="default of an attribute",
        ),
        pytest.param(
            [{"node": [node("If", "f")]}, {"library": FUNCTIONS}],
            r"f \(an undefined function\)",
            id="function of another meta graph",
        ),
        pytest.param([{"node": [node("f")], "library": FUNCTIONS}], "f", id="function as an operation"),
    ],
)
def test_other_operations_of_a_saved_model_are_refused(
    tmp_path: Path, content: list[Config], words: str
) -> None:
    with pytest.raises(
        ModelError, match=rf"model is refused: expected only calculations, got {words}, which"
    ) as caught:
        inspect_model(saved_model(tmp_path / "model", graphs(*content)))
    assert "Export the model again without" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *("CSVDatasetV2", "CacheDataset", "InitializeTableFromTextFileV2", "LoadAndRemapMatrix"),
        *("RpcServer", "RpcClient", "XlaCallModule", "XlaCustomCallV2", "XlaHostCompute", "_Send"),
    ],
)
def test_a_saved_model_that_reaches_beyond_itself_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=f"got {name}, which"):
        inspect_model(saved_model(tmp_path / "model", graphs({"node": [node(name)]})))


def test_functions_are_found_at_any_depth_that_protobuf_reads(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"f \(an undefined function\)"):
        inspect_model(saved_model(tmp_path / "model", nested(20)))
    with pytest.raises(ModelError, match=r"saved_model\.pb is damaged"):
        inspect_model(saved_model(tmp_path / "deep", nested(60)))


def test_a_cut_off_saved_model_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"saved_model\.pb is damaged"):
        inspect_model(saved_model(tmp_path / "model", graphs({"node": [node("Relu")]})[:-1]))


def test_a_saved_model_that_exceeds_protobufs_limit_is_not_read(tmp_path: Path) -> None:
    path = saved_model(tmp_path / "model")
    with (path / "saved_model.pb").open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(ModelError, match=r"expected at most 2147483647 bytes, got 2147483648"):
        inspect_model(path)


@pytest.mark.parametrize("name", ["saved_model.pbtxt", "saved_model.cpb"])
def test_a_second_graph_file_is_refused(tmp_path: Path, name: str) -> None:
    path = saved_model(tmp_path / "model")
    (path / name).touch()
    with pytest.raises(ModelError, match=rf"expected only saved_model\.pb, got also {name}"):
        inspect_model(path)
    (path / "saved_model.pb").unlink()
    with pytest.raises(ModelError, match=r"it has no saved_model\.pb"):
        inspect_model(path)


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    whole = h5(tmp_path / "model.h5", sequential()).read_bytes()
    path = tmp_path / "model.h5"
    for length in range(8, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"model\.h5 is "):
            inspect_model(path)


def test_a_configuration_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (65 * 2**20))
        archive.writestr("metadata.json", "{}")
    with pytest.raises(ModelError, match=r"config\.json has more than 67108864 bytes"):
        inspect_model(path)
