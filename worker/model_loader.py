"""Loads a model file.

First, Keras 3 loads the file. If Keras 3 fails or reads another input than the file describes, tf_keras
(Keras 2) loads the file. SavedModel folders are loaded with TensorFlow.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from worker.keras_compat import import_keras, keras_layers, tf_keras_layers
from worker.known_layers import known_layers
from worker.model_allowlist import Inspection, ModelError
from worker.model_shapes import LoadedModel, ReadModel, fit_to_images


def load(path: Path, inspection: Inspection, output: str | None = None) -> LoadedModel:
    """Load an inspected model, and choose the output with the name or index `output` if it has several.

    Raises:
        ModelError: the model can't be read, or does not have exactly one image input and one score output.
    """
    import_keras()
    if inspection.format == "savedmodel":
        return fit_to_images(_read_saved_model(path), output, str(path))
    reasons, refusals, others = [], list[ModelError](), list[LoadedModel]()
    with _named(path, inspection.format) as file:
        for name, read in (("keras", _read_keras), ("tf_keras", _read_tf_keras)):
            try:
                model = _describe(read(file), name)
                loaded = fit_to_images(model, output, str(path))
            except ModelError as error:
                refusals.append(error)
            except Exception as error:  # Each version of Keras raises different exceptions.
                reasons.append(f"{name}: {one_line(error)}")
            else:
                if inspection.input_shape in (None, model.inputs[0]):
                    return loaded
                others.append(loaded)
    if others:  # The configuration names the shape of another layer, so both readings are as good.
        return others[0]
    raise refusals[0] if refusals else ModelError(_load_error(path, inspection, reasons))


def _load_error(path: Path, inspection: Inspection, reasons: Sequence[str]) -> str:
    hint = (
        "Save the model as .keras: an H5 file may lack parts of a Keras 3 model"
        if inspection.format == "h5" and inspection.keras_version.startswith("3")
        else "Load the file with the Keras that saved it"
        f" ({inspection.keras_version or 'unknown version'}), and export the model as a SavedModel folder"
    )
    return f"{path} can't be loaded by Keras 3 or tf_keras ({'; '.join(reasons)}). {hint}"


def _read_keras(path: str) -> Any:
    import keras

    return keras.models.load_model(path, keras_layers() | known_layers(keras), compile=False, safe_mode=True)


def _read_tf_keras(path: str) -> Any:
    import tf_keras

    with TemporaryDirectory() as folder:
        if path.endswith(".keras"):  # tf_keras opens the file for writing; the original may be read-only.
            path = shutil.copy(path, folder)
        return tf_keras.models.load_model(path, tf_keras_layers() | known_layers(tf_keras), compile=False)


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


def _describe(model: Any, loader: str) -> ReadModel:
    import tensorflow as tf

    shapes = [tuple(each.shape) for each in model.outputs]
    # A Sequential model of Keras 3 has no names of outputs, but it has only one output.
    names = [str(each) for each in getattr(model, "output_names", [model.layers[-1].name])]
    return ReadModel(
        lambda x: tf.nest.flatten(model(x, training=False)),
        [tuple(each.shape) for each in model.inputs],
        list(zip(names, shapes, strict=True)),
        loader,
    )


def _read_saved_model(path: Path) -> ReadModel:
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
        inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    except (KeyError, ValueError, OSError, AttributeError) as error:
        raise ModelError(
            f"{path}: expected a SavedModel with the signature `serving_default`, got an error:"
            f" {one_line(error)}. Export the model with `model.export(FOLDER)` of Keras."
        ) from None
    if refused := [each.dtype.name for each in inputs.values() if not _is_number(each.dtype)]:
        raise ModelError(
            f"{path}: expected an input of numbers, got {refused[0]}. Export the model without the layers"
            " that decode image files."
        )
    names = sorted(outputs, key=_natural)  # TensorFlow's order changes from load to load.

    def call(x: Any) -> list[Any]:
        ((name, given),) = inputs.items()
        found = signature(**{name: tf.cast(x, given.dtype)})
        return [found[each] for each in names]

    call.keeps_alive = loaded  # type: ignore[attr-defined]
    shapes = [tuple(each.shape) for each in inputs.values()]
    return ReadModel(call, shapes, [(name, tuple(outputs[name].shape)) for name in names], "savedmodel")


def _natural(name: str) -> list[Any]:
    """Return a key that sorts output_2 before output_10."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else part) for part in re.split(r"(\d+)", name)]


def _is_number(dtype: Any) -> bool:
    return bool(dtype.is_floating or dtype.is_integer)


def one_line(error: Exception) -> str:
    """Return the message of a TensorFlow or Keras exception on one line, without source file positions."""
    text = re.sub(r"\x1b\[\d+m", "", str(error))
    reason = re.split(r"\n\s*(?=\w+Error: )", text)[-1]
    lines = (line for line in reason.splitlines() if not line.lstrip().startswith('File "'))
    return " ".join(" ".join(lines).split())[:300]
