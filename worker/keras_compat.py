"""Imports Keras, and contains all uses of Keras' private parts.

Checked with keras 3.15.1 and tf-keras 2.21.0.

- Environment variables: during the import, Keras reads KERAS_BACKEND and TensorFlow reads its log level.
- Hidden packages: if matplotlib, scipy and sklearn are installed, Keras imports these packages. Only plots
  and training need these packages. Without these packages, the import of Keras takes 2.0 s instead of 4.3 s
  (docs/performance.md). Guarded by
  tests/integration/test_model_loader.py::test_what_serving_does_not_need_is_not_imported_and_can_be_later.
- Silenced standard error: TensorFlow's import prints messages that no log level suppresses.
- Layers from `keras.src` and `tf_keras.src`: Keras can't find its own layers of ConvNeXt and
  InceptionResNetV2 by their names, so Keras alone could not load these models. Guarded by
  tests/integration/test_model_loader.py::test_layers_that_only_keras_applications_have_are_loaded.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from worker.cuda_driver import preload_cuda_libraries
from worker.processor import check_processor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

NOT_FOR_SERVING = ("matplotlib", "scipy", "sklearn")
"""The packages that are hidden from Keras while it is imported."""


def import_keras() -> None:
    """Import Keras and TensorFlow quickly and without output; raise an exception if the import fails.

    Raises:
        ModelError: TensorFlow cannot run on this processor.
    """
    check_processor()
    preload_cuda_libraries()
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
    """Hide packages, so that Python treats them as not installed.

    A package that is already imported stays visible.
    """
    # Importing a package raises ModuleNotFoundError if the package's value in `sys.modules` is None.
    hidden: dict[str, Any] = {each: None for each in packages if each not in sys.modules}
    sys.modules.update(hidden)
    try:
        yield
    finally:
        for each in hidden:
            del sys.modules[each]


def keras_layers() -> dict[str, Any]:
    """Return a dictionary of layer classes by name. Keras 3 itself can't find these classes."""
    from keras.src.applications import convnext
    from keras.src.applications import inception_resnet_v2 as inception

    return {"LayerScale": convnext.LayerScale, "CustomScaleLayer": inception.CustomScaleLayer}


def tf_keras_layers() -> dict[str, Any]:
    """Return a dictionary of layer classes by name. tf_keras itself can't find these classes."""
    from tf_keras.src.applications import convnext

    return {"LayerScale": convnext.LayerScale}
