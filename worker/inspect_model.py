"""A look into a model file before it is loaded, without tensorflow.

Loading is not safe by itself: tf_keras runs the Python code that a Lambda layer carries in an H5 file.
So nothing is loaded in which a layer of another kind than Keras' own is named.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py


class ModelError(Exception):
    """The model, its classes or its thresholds can't be served; the message is one line for the operator."""


@dataclass(frozen=True)
class Inspection:
    """What a model file says of itself; `fingerprint` is the SHA-256 of its bytes."""

    format: str
    keras_version: str
    layers: tuple[str, ...]
    fingerprint: str


_CODE = ("Lambda", "__lambda__")
"""Class names of objects whose configuration is Python code."""

_NO_LAYERS = ("utils", "config", "saving", "export", "datasets", "backend", "legacy_saving")
"""Parts of Keras that hold functions, not layers: a file that names one asks to have it called."""

_BEYOND = (b"ReadFile", b"WriteFile", b"MatchingFiles", b"PyFunc", b"PyFuncStateless", b"EagerPyFunc")
"""Operations of a TensorFlow graph that reach files or Python."""

_LOOKS_LIKE = {
    b"PK\x03\x04": "a ZIP archive: if it is a Keras 3 model, name it .keras",
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself with `git lfs pull`",
    b"<": "a web page: download the file itself",
    b"": "empty",
}


def inspect(path: Path) -> Inspection:
    """Say what is in a model file (.h5, .hdf5, .keras) or SavedModel folder.

    Raises:
        ModelError: it is missing, damaged, without its architecture, or holds code or unknown layers.
    """
    if not path.exists():
        raise ModelError(f"INFERENCE_MODEL: there is no file {path}")
    if path.is_dir():
        return _inspect_saved_model(path)
    if zipfile.is_zipfile(path):
        return _inspect_keras(path)
    if not h5py.is_hdf5(path):
        start = path.read_bytes()[:64].lstrip()
        kind = next((text for head, text in _LOOKS_LIKE.items() if head and start.startswith(head)), None)
        what = f"it looks like {kind}" if kind else "empty" if not start else "its first bytes are not HDF5's"
        raise ModelError(f"{path} is not an HDF5 file: {what}")
    return _inspect_h5(path)


def _inspect_h5(path: Path) -> Inspection:
    try:
        with h5py.File(path, "r") as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version", b"")
            holds_weights = bool({"layer_names", "layers", "model_weights"} & {*file.attrs, *file})
    except (OSError, RuntimeError) as error:
        raise ModelError(f"{path} is a damaged HDF5 file: {error}") from None
    if config is None:
        what = "holds only weights, not the model's architecture" if holds_weights else "is not a Keras model"
        raise ModelError(f"{path} {what}; save it with model.save(…), not model.save_weights(…)")
    return _checked(path, "h5", _text(config), _text(version))


def _inspect_keras(path: Path) -> Inspection:
    try:
        with zipfile.ZipFile(path) as archive:
            config = archive.read("config.json").decode()
            version = json.loads(archive.read("metadata.json")).get("keras_version", "")
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is a ZIP archive, but not a Keras model: {error}") from None
    return _checked(path, "keras", config, str(version))


def _inspect_saved_model(path: Path) -> Inspection:
    graph = path / "saved_model.pb"
    if not graph.exists():
        raise ModelError(f"{path} is a folder, but not a SavedModel: it has no saved_model.pb")
    content = graph.read_bytes()
    for operation in _BEYOND:
        # In a NodeDef (protobuf) the operation's name is field 2: tag 0x12, length, name.
        if b"\x12" + bytes([len(operation)]) + operation in content:
            raise ModelError(
                f"{path} holds the operation {operation.decode()}, which reaches beyond the model; refused"
            )
    digest = hashlib.sha256()
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        digest.update(str(file.relative_to(path)).encode() + file.read_bytes())
    return Inspection("savedmodel", "", (), digest.hexdigest())


def _checked(path: Path, form: str, config: str, version: str) -> Inspection:
    try:
        layers = list(_layers(json.loads(config)))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: the model's configuration can't be read: {error}") from None
    names = sorted({str(layer["class_name"]) for layer in layers})
    for layer in layers:
        _refuse_code(path, layer)
    with open(path, "rb") as stream:
        fingerprint = hashlib.file_digest(stream, "sha256").hexdigest()
    return Inspection(form, version, tuple(names), fingerprint)


def _refuse_code(path: Path, layer: dict[str, Any]) -> None:
    name, module = str(layer["class_name"]), str(layer.get("module") or "keras")
    registered = str(layer.get("registered_name") or "")
    if name in _CODE or name.endswith(">Lambda"):
        raise ModelError(
            f"{path} has a Lambda layer, which is Python code that loading would run; it is refused:"
            " save the model again with a layer of Keras' own in its place"
        )
    package, *parts = [part for part in module.split(".") if part not in ("src", "api", "_tf_keras")]
    if (
        ">" in name + registered
        or package not in ("keras", "tf_keras", "builtins")
        or set(parts[:1]) & {*_NO_LAYERS}
    ):
        raise ModelError(
            f"{path} names {name} of {registered or module}, which is not a layer of Keras' own; refused"
        )


def _layers(config: Any) -> Iterator[dict[str, Any]]:
    """Every object with a class name, at any depth."""
    stack = [config]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            if "class_name" in each:
                yield each
            # What the model was trained with (a loss of one's own, say) is not loaded.
            stack.extend(value for key, value in each.items() if key != "compile_config")
        elif isinstance(each, list):
            stack.extend(each)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
