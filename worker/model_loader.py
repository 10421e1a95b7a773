"""Loads a model file.

First, Keras 3 loads the file. If Keras 3 fails, tf_keras (Keras 2) loads the file. SavedModel folders are
loaded with TensorFlow.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from worker.keras_compat import import_keras, keras_layers, tf_keras_layers
from worker.model_allowlist import Inspection, ModelError


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model.

    `call` turns inputs, float32 [n, height, width, channels], into scores, float32 [n, classes]. In
    `input_shape` and `output_shape`, None means any size.
    """

    call: Callable[[Any], Any]
    input_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]
    loader: str


def load(path: Path, inspection: Inspection) -> LoadedModel:
    """Load an inspected model.

    Raises:
        ModelError: the model can't be read, or does not have exactly one image input and one score output.
    """
    import_keras()
    if inspection.format == "savedmodel":
        return _load_saved_model(path)
    reasons = []
    with _named(path, inspection.format) as file:
        for name, read in (("keras", _read_keras), ("tf_keras", _read_tf_keras)):
            try:
                return _wrap(path, read(file), name)
            except ModelError:
                raise
            except Exception as error:  # Each version of Keras raises different exceptions.
                reasons.append(f"{name}: {one_line(error)}")
    new_h5 = inspection.format == "h5" and inspection.keras_version.startswith("3")
    hint = ". Save the model as .keras: an H5 file may lack parts of a Keras 3 model" if new_h5 else ""
    raise ModelError(f"{path} can't be loaded: {'; '.join(reasons)}{hint}")


def _read_keras(path: str) -> Any:
    import keras

    return keras.models.load_model(path, keras_layers(), compile=False, safe_mode=True)


def _read_tf_keras(path: str) -> Any:
    import tf_keras

    with TemporaryDirectory() as folder:
        if path.endswith(".keras"):  # tf_keras opens the file for writing; the original may be read-only.
            path = shutil.copy(path, folder)
        return tf_keras.models.load_model(path, tf_keras_layers(), compile=False)


@contextmanager
def _named(path: Path, form: str) -> Iterator[str]:
    """Provide a path whose extension matches the file's format.

    Keras derives a file's format from the extension.
    """
    extensions = {"h5": (".h5", ".hdf5"), "keras": (".keras",)}[form]
    if path.name.endswith(extensions):
        yield str(path)
        return
    with TemporaryDirectory() as folder:
        link = Path(folder, f"model{extensions[0]}")
        link.symlink_to(path.resolve())
        yield str(link)


def _wrap(path: Path, model: Any, loader: str) -> LoadedModel:
    inputs, outputs = list(model.inputs), list(model.outputs)
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(f"{path}: expected 1 input and 1 output, got {len(inputs)} and {len(outputs)}")
    shapes = tuple(inputs[0].shape), tuple(outputs[0].shape)
    return _check_shapes(path, LoadedModel(lambda x: model(x, training=False), *shapes, loader))


def _load_saved_model(path: Path) -> LoadedModel:
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
        ((name, given),) = signature.structured_input_signature[1].items()
        ((_, returned),) = signature.structured_outputs.items()
    except (KeyError, ValueError, OSError, AttributeError) as error:
        raise ModelError(
            f"{path}: a SavedModel needs one input and one output in `serving_default`: {one_line(error)}"
        ) from None
    if not (given.dtype.is_floating or given.dtype.is_integer):
        raise ModelError(f"{path}: expected an input of numbers, got {given.dtype.name}")

    def call(x: Any) -> Any:
        (scores,) = signature(**{name: tf.cast(x, given.dtype)}).values()
        return scores

    call.keeps_alive = loaded  # type: ignore[attr-defined]
    return _check_shapes(path, LoadedModel(call, tuple(given.shape), tuple(returned.shape), "savedmodel"))


def _check_shapes(path: Path, model: LoadedModel) -> LoadedModel:
    given, returned = model.input_shape, model.output_shape
    if len(given) != 4:
        raise ModelError(f"{path}: expected an input of shape [images, height, width, channels], got {given}")
    if len(returned) != 2 or returned[1] == 1:
        raise ModelError(f"{path}: expected an output of shape [images, 2 or more classes], got {returned}")
    return model


def one_line(error: Exception) -> str:
    """Return the message of a TensorFlow or Keras exception on one line, without source file positions."""
    text = re.sub(r"\x1b\[\d+m", "", str(error))
    reason = re.split(r"\n\s*(?=\w+Error: )", text)[-1]
    lines = (line for line in reason.splitlines() if not line.lstrip().startswith('File "'))
    return " ".join(" ".join(lines).split())[:300]
