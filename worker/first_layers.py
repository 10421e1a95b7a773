"""Finds the layers between a model's input and its first layers with weights, in the model's frozen graph.

The graph is the same for every file format, with augmentation left out and nested models unfolded. So no list
of Keras' layers is needed: the layers in front of the first weights are run on images of one value each.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from worker.tensorflow_compat import FrozenGraph, run_graph

PREPARED = "prepared_pixels"
"""Name of the graph's node with the pixels after the preprocessing, which are the model's input."""

_WITH_WEIGHTS = frozenset(
    (
        *("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3D", "_FusedConv2D", "Dilation2D"),
        *("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "_FusedMatMul", "XlaDotV2"),
        *("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
    )
)
_HIDDEN = frozenset(
    (
        *("If", "StatelessIf", "While", "StatelessWhile", "Case", "StatelessCase"),
        *("PartitionedCall", "StatefulPartitionedCall", "Switch", "Enter"),
    )
)
"""Operations whose inside this module does not examine."""

_NO_VALUES = frozenset(("Shape", "ShapeN", "Size", "Rank", "Assert", "NoOp"))
"""Operations whose outputs do not depend on the values of the pixels."""


@dataclass(frozen=True)
class FirstLayers:
    """The part of a model's graph in front of its first layers with weights.

    `tensors` has the names of the tensors that enter these layers. It is empty if the part contains
    operations that were not examined. `names` has the parts of the names of all nodes of the model. These
    parts include the names of Keras' layers.
    """

    graph: Any
    tensors: tuple[str, ...]
    names: frozenset[str]
    shape: tuple[int, int, int]

    def values(self, pixels: Sequence[float]) -> list[float] | None:
        """Return the values that enter the first weights when all prepared pixels have one value.

        The returned list has the median for each value in `pixels`, because layers may add borders. It is
        None if the values are not known, or if the first layers get different values.
        """
        if not self.tensors:
            return None
        try:
            found = np.array([self._medians(value) for value in pixels])
        except Exception:  # TensorFlow raises exceptions of many types. A guess must not stop a worker.
            return None
        same = np.allclose(found, found[:, :1], rtol=1e-3, atol=1e-5)
        return list(map(float, found[:, 0])) if same and np.isfinite(found).all() else None

    def _medians(self, value: float) -> list[float]:
        image = np.full((1, *self.shape), value, np.float32)
        return [
            float(np.median(each)) for each in run_graph(self.graph, {f"{PREPARED}:0": image}, self.tensors)
        ]


def find_first_layers(frozen: FrozenGraph) -> FirstLayers:
    """Return the layers in front of the first layers with weights."""
    tensors = tuple(sorted(_entries(frozen.definition)))
    names = frozenset(part for node in frozen.definition.node for part in node.name.split("/"))
    return FirstLayers(_before(frozen.definition, tensors), tensors, names, frozen.shape)


def _entries(definition: Any) -> set[str]:
    """Return the tensors that enter the first layers with weights.

    The set is empty if a path from the pixels has an operation whose inside is not examined.
    """
    consumers = _consumers(definition)
    entries, seen, waiting = set[str](), {PREPARED}, deque([PREPARED])
    while waiting:
        for node, tensor in consumers[waiting.popleft()]:
            if node.op in _HIDDEN:
                return set()
            if node.op in _WITH_WEIGHTS or "batchnorm" in node.name.split("/"):
                entries.add(tensor if ":" in tensor else f"{tensor}:0")
            elif node.name not in seen:
                seen.add(node.name)
                waiting.append(node.name)
    return entries


def _consumers(definition: Any) -> dict[str, list[tuple[Any, str]]]:
    """Return, for each node's name, the nodes that use its values, with the names of the used tensors."""
    consumers = defaultdict(list)
    for node in definition.node:
        if node.op not in _NO_VALUES:
            for tensor in node.input:
                consumers[_node_of(tensor)].append((node, tensor))
    return consumers


def _before(definition: Any, tensors: Sequence[str]) -> Any:
    """Return the part of a graph that computes the tensors from a placeholder for the prepared pixels."""
    nodes = {node.name: node for node in definition.node}
    part = type(definition)()
    part.versions.CopyFrom(definition.versions)
    pixels = part.node.add(name=PREPARED, op="Placeholder")
    pixels.attr["dtype"].type = 1  # DT_FLOAT
    needed, waiting = {PREPARED}, [*map(_node_of, tensors)]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            node = part.node.add()
            node.CopyFrom(nodes[name])
            # Control inputs only order operations that have side effects.
            node.input[:] = [each for each in node.input if not each.startswith("^")]
            waiting += map(_node_of, node.input)
    return part


def _node_of(tensor: str) -> str:
    return tensor.partition(":")[0]  # The name of a control input begins with ^, so it is no node's name.
