"""Contains all uses of private and outdated parts of TensorFlow. Checked with tensorflow 2.21.0.

- `convert_variables_to_constants_v2` is private. This function replaces the variables of a graph with
  constants. A session needs a graph without variables.
- `compat.v1.Session` runs the model's graph on a CPU. In a session, a batch of 8 inputs takes 0.66 ms of CPU
  time. Without a session, the same batch takes 1.85 ms (docs/performance.md). The reason is that TensorFlow
  formats every batch as text for an error message that is never shown. Each session has its own precision and
  inter-op threads. Guarded by tests/integration/test_model.py (the scores equal those of Keras' `predict`)
  and by tests/integration/test_engine.py (precision and threads).
- `malloc_trim` of glibc returns freed memory to the operating system. The worker calls `malloc_trim` at
  the end of the warm-up. With `malloc_trim`, a worker with InceptionV3 uses 1.76 GB of memory. Without
  `malloc_trim`, this worker uses 2.21 GB. Guarded by tests/unit/test_tensorflow_compat.py.
"""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.keras_compat import import_keras

Pixels = NDArray[np.uint8]
Scores = NDArray[np.float32]


def prepare_devices(threads: int) -> None:
    """Set TensorFlow's number of threads, and let TensorFlow reserve GPU memory only as needed.

    The number 0 means one thread per core.
    """
    import_keras()
    import tensorflow as tf

    with suppress(RuntimeError):  # Raised if an earlier engine of this process has used the devices.
        # All sessions of the process share this thread pool, so a session's own limit has no effect.
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)


def freeze(function: Any) -> Any:
    """Return a copy of a concrete function in which constants replace the model's weights."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function)


def release_freed_memory() -> None:
    """Return freed memory to the operating system.

    Without this call, glibc would keep the freed memory for this process.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def make_runner(frozen: Any, precision: str, threads: int) -> Callable[[Pixels], Scores]:
    """Return a function that runs the frozen graph.

    On a CPU, the function runs the graph in a session. On a GPU, XLA compiles the graph.
    """
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        compiled = tf.function(lambda pixels: frozen(pixels)[0], jit_compile=True)
        return lambda pixels: np.asarray(compiled(tf.constant(pixels)))
    config = tf.compat.v1.ConfigProto()
    if threads:  # By default, parallel branches of the model would use more cores than `threads`.
        config.inter_op_parallelism_threads, config.use_per_session_threads = 1, True
    rewrites = config.graph_options.rewrite_options
    if precision == "bfloat16":
        rewrites.auto_mixed_precision_onednn_bfloat16 = rewrites.ON
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen.graph.as_graph_def(), name="")
        session = tf.compat.v1.Session(graph=graph, config=config)
    run: Callable[[Pixels], Scores] = session.make_callable(frozen.outputs[0].name, [frozen.inputs[0].name])
    return run
