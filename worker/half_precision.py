"""Changes a graph so that convolutions and matrix products run in float16 or bfloat16 on a GPU.

XLA does not run Grappler's automatic mixed precision, so this module inserts the casts. All other operations,
and the last matrix product, which gives the scores, stay in float32.
"""

from typing import Any

import numpy as np

from worker.tensorflow_compat import FrozenGraph

PRODUCTS = ("Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2")
"""The operations that run in half precision. Their first two inputs are the factors."""


def with_half_precision(frozen: FrozenGraph, precision: str) -> FrozenGraph:
    """Return a copy of the graph whose products have float16 or bfloat16 factors and float32 results."""
    import tensorflow as tf

    return FrozenGraph(
        _Rewriter(frozen, getattr(tf, precision)).rewrite(), frozen.input, frozen.output, frozen.shape
    )


class _Rewriter:
    def __init__(self, frozen: FrozenGraph, half: Any) -> None:
        import tensorflow as tf

        self._tf, self._half, self._nodes = tf, half, frozen.definition.node
        self._constants = {node.name: node for node in self._nodes if node.op == "Const"}
        self._made = tf.compat.v1.GraphDef()
        self._made.versions.CopyFrom(frozen.definition.versions)
        self._made.library.CopyFrom(frozen.definition.library)
        self._halves: dict[str, str] = {}

    def rewrite(self) -> Any:
        dense = [node.name for node in self._nodes if node.op in ("MatMul", "BatchMatMulV2")]
        for node in self._nodes:
            if self._is_product(node) and node.name not in dense[-1:]:
                self._add_product(node)
            else:
                self._made.node.add().CopyFrom(node)
        return self._made

    def _is_product(self, node: Any) -> bool:
        return node.op in PRODUCTS and node.attr["T"].type == self._tf.float32.as_datatype_enum

    def _add_product(self, node: Any) -> None:
        """Add the product in half precision; a cast of its result gets the product's name."""
        product = self._made.node.add()
        product.CopyFrom(node)
        product.name = f"{node.name}/half_product"
        product.attr["T"].type = self._half.as_datatype_enum
        product.input[:2] = [self._in_half_precision(each) for each in node.input[:2]]
        self._add_cast(node.name, product.name, self._half, self._tf.float32)

    def _in_half_precision(self, name: str) -> str:
        """Return the name of a tensor's half-precision copy, and create the copy if there is none."""
        if name not in self._halves:
            self._halves[name] = copy = name.replace(":", "_") + "/half"
            if name in self._constants:
                self._add_constant(copy, self._constants[name])
            else:
                self._add_cast(copy, name, self._tf.float32, self._half)
        return self._halves[name]

    def _add_constant(self, name: str, original: Any) -> None:
        value = self._tf.make_ndarray(original.attr["value"].tensor).astype(self._half.as_numpy_dtype)
        node = self._made.node.add(name=name, op="Const")
        node.attr["dtype"].type = self._half.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(self._tf.make_tensor_proto(np.asarray(value), self._half))

    def _add_cast(self, name: str, source: str, given: Any, wanted: Any) -> None:
        node = self._made.node.add(name=name, op="Cast", input=[source])
        node.attr["SrcT"].type, node.attr["DstT"].type = given.as_datatype_enum, wanted.as_datatype_enum
