"""Finds out which activation a model's scores still need, from the model's last operation and its scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from worker.tensorflow_compat import FrozenGraph, Scores

RAW_SCORES = "model_scores"
"""Name of the graph's node with the model's scores in front of the activation from the settings."""

_UNCHANGED = frozenset(
    ("Identity", "IdentityN", "Reshape", "Squeeze", "Cast", "StopGradient", "Transpose", "Pack")
)
"""Operations that only pass scores on."""

_PROBABILITIES = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
_LOGITS = frozenset(
    (
        *("BiasAdd", "MatMul", "Conv2D", "Add", "AddV2", "Mean", "Mul", "BatchMatMulV2", "AvgPool"),
        *("FusedBatchNormV3", "LogSoftmax"),
    )
)
"""Operations whose results are logits or logarithms of probabilities. Softmax makes probabilities of both."""


@dataclass(frozen=True)
class ActivationAdvice:
    """Another value for INFERENCE_ACTIVATION than the set value, and the reason."""

    name: str
    reason: str


def last_operation(frozen: FrozenGraph) -> str:
    """Return the type of the last operation of the model that calculates scores."""
    nodes = {node.name: node for node in frozen.definition.node}
    node: Any = nodes[RAW_SCORES]
    while node.op in _UNCHANGED:
        node = nodes[node.input[0].partition(":")[0]]
    return str(node.op)


def activation_advice(
    setting: str, operation: str, scores: Scores, *, is_binary: bool
) -> ActivationAdvice | None:
    """Return a better value for INFERENCE_ACTIVATION, or None if the scores are right or nothing is known.

    `operation` is the model's last operation, and `scores`, float32 [n, classes], are some of its scores.
    """
    if setting != "none":
        known = _PROBABILITIES.get(operation)
        return ActivationAdvice("none", f"the model already ends in {known}") if known else None
    if operation not in _LOGITS or (not is_binary and _are_distributions(scores)):
        return None
    if operation == "LogSoftmax":
        return ActivationAdvice("softmax", "the model ends in log_softmax")
    return ActivationAdvice("sigmoid" if is_binary else "softmax", "the last layer has no activation")


def _are_distributions(scores: Scores) -> bool:
    return bool(np.allclose(scores.sum(1), 1, atol=1e-3) and scores.min() >= -1e-3)


def state_changes(definition: Any) -> list[str]:
    """Return the names of the layers that change variables when a graph (a GraphDef) runs."""
    functions = [node for function in definition.library.function for node in function.node_def]
    changing = [node.name for node in (*definition.node, *functions) if node.op.startswith("Assign")]
    return sorted({(name.split("/")[-2:-1] or [name])[0] for name in changing})
