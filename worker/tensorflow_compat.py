"""Contains all uses of private and outdated parts of TensorFlow. Checked with tensorflow 2.21.0.

- `_FunctionConverterDataInEager` and `_replace_variables_by_constants` are private. They replace the
  variables of a graph with constants. A session needs a graph without variables. The public function
  `convert_variables_to_constants_v2` also builds a function from the constants, which nothing here uses and
  which takes a third of a worker's start (docs/performance.md).
- `compat.v1.Session` runs the model's graph on a CPU. In a session, a batch of 8 inputs takes 0.66 ms of CPU
  time. Without a session, the same batch takes 1.85 ms (docs/performance.md). The reason is that TensorFlow
  formats every batch as text for an error message that is never shown. Each session has its own precision and
  inter-op threads. Guarded by tests/integration/test_model.py (the scores equal those of Keras' `predict`)
  and by tests/integration/test_engine.py (precision and threads).
- `Session._call_tf_sessionrun` is private. It passes arrays to the session without the checks of
  `Session.run`, which take a seventh of the CPU time of a small batch. With the run option
  `inter_op_thread_pool=-1`, the calling thread runs the graph's operations one after another. Otherwise, a
  pool of threads runs them, and passing each operation to the pool takes another seventh. Both ways share the
  session's optimized graph. Guarded by tests/integration/test_engine.py.
- `malloc_trim` of glibc returns freed memory to the operating system. The worker calls `malloc_trim` at
  the end of the warm-up. With `malloc_trim`, a worker with InceptionV3 uses 1.76 GB of memory. Without
  `malloc_trim`, this worker uses 2.21 GB. Guarded by tests/unit/test_tensorflow_compat.py.
"""

import ctypes
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.faster_way import FasterWay

Pixels = NDArray[np.uint8]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class FrozenGraph:
    """A graph without variables, as a GraphDef, and the names of its input and output tensors.

    `shape` is the input's shape [height, width, channels].
    """

    definition: Any
    input: str
    output: str
    shape: tuple[int, int, int]


def freeze(function: Any) -> FrozenGraph:
    """Return a copy of a concrete function's graph in which constants replace the model's weights."""
    from tensorflow.python.framework import convert_to_constants as convert

    data = convert._FunctionConverterDataInEager(function, lower_control_flow=True, aggressive_inlining=False)
    definition, _ = convert._replace_variables_by_constants(data)
    (pixels, *_), (scores,) = function.inputs, function.outputs
    return FrozenGraph(definition, pixels.name, scores.name, tuple(pixels.shape[1:]))


def run_graph(definition: Any, inputs: dict[str, Any], tensors: Sequence[str]) -> list[NDArray[Any]]:
    """Run a graph (a GraphDef) once on the CPU; return the arrays of the named tensors."""
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph, config=config) as session:
        tf.import_graph_def(definition, name="")
        return list(session.run(list(tensors), inputs))


def release_freed_memory() -> None:
    """Return freed memory to the operating system.

    Without this call, glibc would keep the freed memory for this process.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def compiled_runner(frozen: FrozenGraph) -> Callable[[Pixels], Scores]:
    """Return a function that runs the graph on the GPU, compiled by XLA for each number of inputs."""
    import tensorflow as tf

    imported = tf.compat.v1.wrap_function(
        lambda: tf.compat.v1.import_graph_def(frozen.definition, name=""), []
    )
    scores = imported.prune(*map(imported.graph.as_graph_element, (frozen.input, frozen.output)))
    signature = [tf.TensorSpec([None, *frozen.shape], tf.uint8)]  # Without it, each new size is traced again.
    compiled = tf.function(
        lambda pixels: scores(pixels), input_signature=signature, jit_compile=True, autograph=False
    )
    run = compiled.get_concrete_function()
    return lambda pixels: np.asarray(run(tf.constant(pixels)))


def session_runner(
    frozen: FrozenGraph, threads: int, *, device: str, precision: str = "float32"
) -> Callable[[Pixels], Scores]:
    """Return a function that runs the graph in a session on the 'cpu' or the 'gpu'.

    `threads` is the number of threads, 0 for one thread per core. The precision 'bfloat16' is for CPUs. On a
    CPU, the calling thread or a thread pool runs the graph's operations, whichever is faster.
    """
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(device_count={"GPU": int(device == "gpu")})
    config.gpu_options.allow_growth = True
    if threads:  # By default, parallel branches of the model would use more cores than `threads`.
        config.inter_op_parallelism_threads, config.use_per_session_threads = 1, True
    rewrites = config.graph_options.rewrite_options
    # A second pass of Grappler changes no speed, but takes half a second of the start with InceptionV3.
    rewrites.meta_optimizer_iterations = rewrites.ONE
    if precision == "bfloat16":
        rewrites.auto_mixed_precision_onednn_bfloat16 = rewrites.ON
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen.definition, name="")
        session = tf.compat.v1.Session(graph=graph, config=config)
        session._extend_graph()
    pooled = _session_call(session, frozen, tf.compat.v1.RunOptions())
    if device == "gpu":  # There, the operations only start kernels on the card.
        return pooled
    return FasterWay(pooled, _session_call(session, frozen, tf.compat.v1.RunOptions(inter_op_thread_pool=-1)))


def _session_call(session: Any, frozen: FrozenGraph, options: Any) -> Callable[[Pixels], Scores]:
    from tensorflow.python.client import pywrap_tf_session

    tensor = session.graph.get_tensor_by_name
    pixels, scores = tensor(frozen.input)._as_tf_output(), [tensor(frozen.output)._as_tf_output()]
    # The session copies the options in each run. The buffer lives as long as the process.
    buffer = pywrap_tf_session.TF_NewBufferFromString(options.SerializeToString())

    def call(inputs: Pixels) -> Scores:
        result: list[Scores] = session._call_tf_sessionrun(buffer, {pixels: inputs}, scores, [], None)
        return result[0]

    return call
