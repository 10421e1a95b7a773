"""Loading a model: Keras 3 first, then tf_keras (Keras 2), or a SavedModel."""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

from worker.model_allowlist import Inspection, ModelError


@dataclass(frozen=True)
class LoadedModel:
    """`call` maps float32 [n, height, width, channels] to scores [n, classes]; open sizes are None."""

    call: Callable[[Any], Any]
    input_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]
    loader: str


def load(path: Path, inspection: Inspection) -> LoadedModel:
    """Load an inspected model.

    Raises:
        ModelError: no loader can read it, or it has not one input of images and one output of scores.
    """
    import_tensorflow()
    if inspection.format == "savedmodel":
        return _load_saved_model(path)
    reasons = []
    with _named(path, inspection.format) as file:
        for name, read in (("keras", _read_keras), ("tf_keras", _read_tf_keras)):
            try:
                return _wrap(path, read(file), name)
            except ModelError:
                raise
            except Exception as error:  # each version of Keras fails in ways of its own
                reasons.append(f"{name} says: {one_line(error)}")
    new_h5 = inspection.format == "h5" and inspection.keras_version.startswith("3")
    hint = "; saved as .keras, a model of Keras 3 keeps what H5 does not" if new_h5 else ""
    raise ModelError(f"{path} can't be loaded; {'; '.join(reasons)}{hint}")


NOT_FOR_SERVING = ("matplotlib", "scipy", "sklearn")
"""What Keras imports where it is installed, for pictures and training: all three double a worker's start."""


def import_tensorflow() -> None:
    """Import it without its greeting, which no log level silences; errors are exceptions and still seen."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere, _hidden(NOT_FOR_SERVING):
            os.dup2(nowhere.fileno(), 2)
            import keras  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _hidden(packages: Sequence[str]) -> Iterator[None]:
    """Let imports within take these packages for not installed, unless they are imported already."""
    # What Python's manual says of a name whose module is None: importing it is a ModuleNotFoundError.
    hidden: dict[str, Any] = {each: None for each in packages if each not in sys.modules}
    sys.modules.update(hidden)
    try:
        yield
    finally:
        for each in hidden:
            del sys.modules[each]


# Both name to Keras the layers of its own ConvNeXt and InceptionResNetV2, which it does not find by itself.


def _read_keras(path: str) -> Any:
    import keras
    from keras.src.applications import convnext
    from keras.src.applications import inception_resnet_v2 as inception

    own = {"LayerScale": convnext.LayerScale, "CustomScaleLayer": inception.CustomScaleLayer}
    return keras.models.load_model(path, own, compile=False, safe_mode=True)


def _read_tf_keras(path: str) -> Any:
    import tf_keras
    from tf_keras.src.applications import convnext

    own = {"LayerScale": convnext.LayerScale}
    with TemporaryDirectory() as folder:
        if path.endswith(".keras"):  # it opens one for writing, and a mounted file may be read-only
            path = shutil.copy(path, folder)
        return tf_keras.models.load_model(path, own, compile=False)


@contextmanager
def _named(path: Path, form: str) -> Iterator[str]:
    """The file under an ending that Keras knows its form by; a mounted file may have any."""
    endings = {"h5": (".h5", ".hdf5"), "keras": (".keras",)}[form]
    if path.name.endswith(endings):
        yield str(path)
        return
    with TemporaryDirectory() as folder:
        link = Path(folder, f"model{endings[0]}")
        link.symlink_to(path.resolve())
        yield str(link)


def _wrap(path: Path, model: Any, loader: str) -> LoadedModel:
    inputs, outputs = list(model.inputs), list(model.outputs)
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"{path} has {len(inputs)} inputs and {len(outputs)} outputs; a model with one of each is served"
        )
    return _checked(
        path,
        LoadedModel(
            lambda x: model(x, training=False), tuple(inputs[0].shape), tuple(outputs[0].shape), loader
        ),
    )


def _load_saved_model(path: Path) -> LoadedModel:
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
        ((name, given),) = signature.structured_input_signature[1].items()
        ((_, taken),) = signature.structured_outputs.items()
    except (KeyError, ValueError, OSError, AttributeError) as error:
        raise ModelError(
            f"{path}: a SavedModel needs one input and one output in `serving_default`: {one_line(error)}"
        ) from None
    if not (given.dtype.is_floating or given.dtype.is_integer):
        raise ModelError(f"{path} takes an input of {given.dtype.name}; pixels as numbers are served")

    def call(x: Any) -> Any:
        (scores,) = signature(**{name: tf.cast(x, given.dtype)}).values()
        return scores

    call.keeps_alive = loaded  # type: ignore[attr-defined]
    return _checked(path, LoadedModel(call, tuple(given.shape), tuple(taken.shape), "savedmodel"))


def _checked(path: Path, model: LoadedModel) -> LoadedModel:
    if len(model.input_shape) != 4:
        raise ModelError(
            f"{path} takes an input of shape {model.input_shape}; [images, height, width, channels] is served"
        )
    if len(model.output_shape) != 2:
        raise ModelError(f"{path} gives an output of shape {model.output_shape}; [images, classes] is served")
    if model.output_shape[1] == 1:
        raise ModelError(
            f"{path} gives 1 score an image; a model with a score for each of 2 or more classes is served"
        )
    return model


def one_line(error: Exception) -> str:
    """The reason that an exception of TensorFlow or Keras gives, without the places in their code."""
    text = re.sub(r"\x1b\[\d+m", "", str(error))
    reason = re.split(r"\n\s*(?=\w+Error: )", text)[-1]
    lines = (line for line in reason.splitlines() if not line.lstrip().startswith('File "'))
    return " ".join(" ".join(lines).split())[:300]
