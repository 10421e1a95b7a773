"""The security check of model files: refuses unknown layers, functions and operations before loading.

Loading a model file can run code. tf_keras runs Python code that an H5 file stores in a Lambda layer or in
a recurrent cell's wrapper. tf_keras calls any TensorFlow function that a TFOpLambda layer names. tf_keras
also imports any module that a model's configuration names. So a model file is loaded only if
`model_allowlist.json` lists all layers and functions in the file's configuration. The allowlist has only
Keras' own layers, whose configurations consist of numbers and names. A SavedModel has no Python code, but
its operations can access files and the network. So a SavedModel is loaded only if `model_allowlist.json`
lists all operations in its graphs and functions. The check itself does not import TensorFlow.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import filterfalse
from pathlib import Path
from typing import Any

import h5py

from worker.saved_model_graph import MAX_GRAPH_BYTES, read_graphs

MAX_CONFIG_BYTES = 64 * 2**20
"""Maximum size of a configuration in a .keras file, in bytes.

For comparison, the configuration of EfficientNetV2L has half a megabyte."""

MAX_MESSAGE_LENGTH = 2000
"""Maximum length of an error message, in characters.

If a list of unknown layers is longer, the message is cut off."""


class ModelError(Exception):
    """The model, its classes or its thresholds are invalid.

    The error message is one line for the operator of the server.
    """

    def __init__(self, message: str) -> None:
        # The message may quote the model file; this text must not begin a log line or control a terminal.
        shown = "".join(each if each.isprintable() else " " for each in message[:MAX_MESSAGE_LENGTH])
        super().__init__(" ".join(shown.split()))


@dataclass(frozen=True)
class Inspection:
    """Facts about a model file: `format` is 'h5', 'keras' or 'savedmodel'.

    `layers` has the class names of the model's layers. `fingerprint` is the SHA-256 of the file.
    `input_shape` is the shape of the first layer's input that the file specifies, with None for any size.
    """

    format: str
    keras_version: str
    layers: tuple[str, ...]
    fingerprint: str
    input_shape: tuple[int | None, ...] | None = None


_NAMES: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())
_OPERATIONS: dict[str, list[str]] = _NAMES["saved_model_operations"]

ALLOWED_CLASSES = frozenset(_NAMES["layers"] + _NAMES["layer_parts"])
"""Class names that are allowed in a model's configuration.

The allowed classes are all layers of Keras 3 and tf_keras, except layers that contain code or load a
file. A test compares this list with both libraries."""

KNOWN_LAYERS: dict[str, str] = _NAMES["known_layers"]
"""Layers and initializers of common packages whose calculation `worker.known_layers` knows.

The values name the calculation. The packages' code is not needed."""

_ADVICE: dict[str, str] = _NAMES["advice"]
"""For layers that are refused: what the layer is, and what to do, by the class name."""

ALLOWED_OPERATIONS = frozenset(name for group in _OPERATIONS.values() for name in group)
"""Operations that are allowed in a SavedModel: calculations, variables and control flow.

Only the operations for checkpoints can access files. Every SavedModel has these operations. Tests compare
the groups of operations with TensorFlow's registry."""

_TF_INITIALIZERS = "tensorflow.python.ops.init_ops_v2"
"""The only allowed module outside of Keras.

The EfficientNetV2 models of tf_keras use an initializer of this module."""

_FILE_TYPES = {
    b"PK\x03\x04": "a ZIP archive that is cut off",
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself with `git lfs pull`",
    b"<": "a web page: download the file itself",
}
"""Descriptions of file types that users confuse with model files, by the first bytes of such a file."""


def inspect_model(path: Path) -> Inspection:
    """Check a model file (.h5, .hdf5, .keras) or a SavedModel folder; return facts about the model.

    With the allowed operations `SaveV2` and `MergeV2Checkpoints`, a hostile SavedModel can write or move a
    checkpoint file. This is only possible in a folder to which the worker may write.

    Raises:
        ModelError: the file is missing or damaged, has no architecture, or contains code or unknown layers.
    """
    if not path.exists():
        raise ModelError(f"INFERENCE_MODEL: there is no file {path}. Set it to the path of the model file.")
    if path.is_dir():
        return _inspect_saved_model(path)
    try:
        with path.open("rb") as file:
            head = file.read(64).lstrip()
    except OSError as error:
        raise ModelError(f"INFERENCE_MODEL: {path} can't be read: {error.strerror}") from None
    if zipfile.is_zipfile(path):
        return _inspect_configuration(path, "keras", *_keras_configuration(path))
    if not h5py.is_hdf5(path):
        raise ModelError(f"{path} is not an HDF5 file: {_file_type(head)}")
    return _inspect_configuration(path, "h5", *_h5_configuration(path))


def _file_type(head: bytes) -> str:
    kind = next((name for start, name in _FILE_TYPES.items() if head.startswith(start)), None)
    return f"it looks like {kind}" if kind else "it has no HDF5 signature" if head else "it is empty"


def read_configuration(path: Path) -> tuple[str, str]:
    """Read the model's configuration (JSON) and the Keras version from an H5 or .keras file.

    The configuration is not checked yet.

    Raises:
        ModelError: the file is damaged or has no architecture.
    """
    return _keras_configuration(path) if zipfile.is_zipfile(path) else _h5_configuration(path)


def _h5_configuration(path: Path) -> tuple[str, str]:
    try:
        with h5py.File(path, "r") as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version", b"")
            holds_weights = bool({"layer_names", "layers", "model_weights"} & {*file.attrs, *file})
    except Exception as error:  # On damaged files, h5py raises exceptions of many types.
        raise ModelError(f"{path} is a damaged HDF5 file: {_reason(error)}") from None
    if config is None:
        fault = "has only weights, not the architecture" if holds_weights else "is not a Keras model"
        raise ModelError(f"{path} {fault}. Save the model with model.save(…), not model.save_weights(…).")
    return _text(config), _text(version)


def _keras_configuration(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            config = _member(archive, "config.json").decode()
            version = json.loads(_member(archive, "metadata.json")).get("keras_version", "")
    except Exception as error:  # On damaged files, zipfile raises exceptions of many types.
        raise ModelError(f"{path} is a ZIP archive, but not a Keras model: {_reason(error)}") from None
    return config, str(version)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MAX_CONFIG_BYTES:  # `read` unpacks no more than `file_size` bytes.
        raise ValueError(f"its {name} has more than {MAX_CONFIG_BYTES} bytes")
    return archive.read(name)


def _inspect_saved_model(path: Path) -> Inspection:
    graph = path / "saved_model.pb"
    if not graph.is_file():
        raise ModelError(f"{path} is a folder, but not a SavedModel: it has no saved_model.pb")
    digest = hashlib.sha256()
    try:
        if others := sorted({each.name for each in path.glob("saved_model.*")} - {graph.name}):
            # A version of TensorFlow could load these files instead of the inspected file.
            raise ModelError(
                f"{path} is refused: expected only saved_model.pb, got also {', '.join(others)}. Remove it"
            )
        _check_operations(path, graph)
        for file in sorted(each for each in path.rglob("*") if each.is_file()):
            digest.update(f"{file.relative_to(path)}\n{_sha256(file)}\n".encode())
    except OSError as error:
        raise ModelError(f"INFERENCE_MODEL: {error.filename} can't be read: {error.strerror}") from None
    return Inspection("savedmodel", "", (), digest.hexdigest())


def _check_operations(path: Path, graph: Path) -> None:
    if (size := graph.stat().st_size) > MAX_GRAPH_BYTES:
        raise ModelError(f"{graph}: expected at most {MAX_GRAPH_BYTES} bytes, got {size}")
    try:
        contents = read_graphs(graph.read_bytes())
    except ValueError as error:
        raise ModelError(f"{graph} is damaged: {_reason(error)}") from None
    refused = sorted(contents.operations - ALLOWED_OPERATIONS)
    refused += [f"{name} (an undefined function)" for name in sorted(contents.undefined_functions)]
    if refused:
        raise ModelError(
            f"{path} is refused: expected only calculations, got {', '.join(refused)}, which could access"
            " files, the network or code. Export the model again without these operations"
        )


def _inspect_configuration(path: Path, form: str, config: str, version: str) -> Inspection:
    try:
        objects = list(_objects(json.loads(config)))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: the model's configuration can't be read: {_reason(error)}") from None
    names = {str(each["class_name"]) for each in objects}
    if {name.rpartition(">")[2] for name in names} & {"Lambda", "__lambda__"}:
        raise ModelError(
            f"{path} is refused: it has a Lambda layer, and loading it would run Python code from the file."
            " Replace the layer by a built-in Keras layer, or export the model as a SavedModel folder"
        )
    if refused := list(filterfalse(_is_allowed, objects)):
        is_old = version.startswith("1.") or "Convolution2D" in names
        refusal = _keras_1_refusal(path, version) if is_old else _refusal(path, refused, f"{form} {version}")
        raise ModelError(refusal)
    return Inspection(form, version, tuple(sorted(names)), _sha256(path), _declared_input(objects))


def _refusal(path: Path, refused: Sequence[dict[str, Any]], saved_as: str) -> str:
    names = {str(each["class_name"]).rpartition(">")[2] for each in refused}
    known = next((f". {text}" for name, text in _ADVICE.items() if name in names), "")
    calculation = ". A .keras file of Keras 3 can store a calculation such as x / 255, an H5 file cannot"
    listed = ", ".join(sorted(set(map(_described, refused))))
    return (
        f"{path} is refused: it names {listed}, which is not a layer of Keras' own. On a machine that has the"
        " layer's code, export the model as a SavedModel folder, and use that folder"
        f"{known}{calculation if saved_as.startswith('h5 3') else ''}"
    )


def _keras_1_refusal(path: Path, version: str) -> str:
    return (
        f"{path} is refused: it was saved by Keras {version or '1'}, whose layers Keras 2 and 3 do not read."
        " Build the same layers with tf_keras, call `model.load_weights` with this file and then"
        " `model.save`, and use the new file"
    )


def _declared_input(objects: Sequence[dict[str, Any]]) -> tuple[int | None, ...] | None:
    """Return the input shape that the first of the objects with an input shape specifies."""
    configs = [config for each in objects if isinstance(config := each.get("config"), dict)]
    shapes = (config.get("batch_input_shape", config.get("batch_shape")) for config in configs)
    return next((tuple(shape) for shape in shapes if isinstance(shape, list)), None)


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every object that has a class name, at any depth of a model's configuration, in its order."""
    if isinstance(config, dict):
        # The training configuration (for example the loss) is not checked, because it is not loaded.
        config = {key: value for key, value in config.items() if key != "compile_config"}
    stack = [config]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            if "class_name" in each:
                yield each
            stack.extend(reversed(each.values()))
        elif isinstance(each, list):
            stack.extend(reversed(each))


def _is_allowed(found: dict[str, Any]) -> bool:
    """Return whether Keras may create an object, judged by its class name, module and registered name."""
    return _is_known_layer(found) or _is_of_keras(found)


def _is_of_keras(found: dict[str, Any]) -> bool:
    name, alias = str(found["class_name"]), found.get("registered_name")
    package, *submodules = _module(found)
    # If tf_keras does not know the class name, it uses the registered name.
    if alias not in (None, name) and (alias != f"Custom>{name}" or alias not in ALLOWED_CLASSES):
        return False
    if package not in ("keras", "tf_keras", "builtins") and found.get("module") != _TF_INITIALIZERS:
        return False
    if name in ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "function"):
        return _is_allowed_function(name, found.get("config"))
    return name in ALLOWED_CLASSES or _is_allowed_by_module(name, submodules)


def _is_known_layer(found: dict[str, Any]) -> bool:
    """Return whether the loader has a class of its own for a name of another package.

    Keras would import the module of a registered name that is missing or that the loader does not know.
    """
    name = str(found["class_name"])
    aliases = [name, f"Custom>{name}", *([] if found.get("module") else [None])]
    return name.removeprefix("Custom>") in KNOWN_LAYERS and found.get("registered_name") in aliases


def _is_allowed_by_module(name: str, submodules: list[str]) -> bool:
    """Return whether a class is allowed because of its module.

    The allowed classes are operations of Keras 3, and the losses, metrics and optimizers of nested models.
    """
    # Only capitalized names (classes) are allowed, because a Keras module also contains imported modules.
    if not (name.isidentifier() and name[0].isupper()):
        return False
    if submodules[:1] == ["ops"]:
        return ".".join(submodules[1:]) in _NAMES["keras_ops_modules"] or name in _NAMES["keras_core_ops"]
    return submodules[:1] in (["losses"], ["metrics"], ["optimizers"])


def _is_allowed_function(kind: str, config: Any) -> bool:
    """Return whether a layer may call the Keras or TensorFlow function in the layer's configuration."""
    if kind == "function":
        return isinstance(config, str) and config in _NAMES["activations"]
    values = config if isinstance(config, dict) else {}
    if kind == "TensorFlowOpLayer":
        node = values.get("node_def")
        return isinstance(node, dict) and node.get("op") in _NAMES["tf_operations"]
    name = str(values.get("function")).removeprefix("compat.v1.")
    return name in _NAMES["tf_functions"] or name.rpartition(".")[0] in _NAMES["tf_namespaces"]


def _described(found: dict[str, Any]) -> str:
    name, config = str(found["class_name"]), found.get("config")
    if name == "function":
        return f"the function {config}"
    if isinstance(config, dict) and name in ("TFOpLambda", "SlicingOpLambda"):
        return f"{name} of the function {config.get('function')}"
    known = _module(found)[0] in ("keras", "builtins") and found.get("registered_name") in (None, name)
    return name if known else f"{name} of {found.get('registered_name') or found.get('module')}"


def _module(found: dict[str, Any]) -> list[str]:
    """Return the name of an object's module, split at the dots.

    The names of Keras' internal packages are left out.
    """
    module = str(found.get("module") or "keras")
    return [part for part in module.split(".") if part not in ("src", "api", "_tf_keras")] or [""]


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
