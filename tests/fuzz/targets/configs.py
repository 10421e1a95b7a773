"""The configuration in a complete .keras file: only names of the allowlist are accepted."""

import json

from tests.fuzz.targets.files import written
from tests.fuzz.targets.models import CONFIG, keras
from worker.model_allowlist import ModelError, inspect_model

SEEDS = [
    CONFIG.encode(),
    b'{"class_name": "Lambda", "config": {"function": ["x"]}}',
    b'{"class_name": "TFOpLambda", "config": {"function": "math.truediv"}}',
    b'{"class_name": "function", "config": "gelu", "module": "builtins", "registered_name": "gelu"}',
    b'[{"class_name": "Dense", "module": "keras.src.layers", "registered_name": null}, {"class_name": 1}]',
    b'{"class_name": "TensorFlowOpLayer", "config": {"node_def": {"op": "RealDiv"}}}',
    b"[[[[1e999, NaN]]]]",
]
WORDS = [
    *(
        b'"class_name":',
        b'"config":',
        b'"module":',
        b'"registered_name":',
        b'"function"',
        b'"Lambda"',
        b'"Dense"',
    ),
    *(
        b'"TFOpLambda"',
        b'"keras.src.ops.core"',
        b'"builtins"',
        b'"compile_config":',
        b"{",
        b"}",
        b"[",
        b"]",
        b"null",
    ),
]


def run(data: bytes) -> None:
    try:
        found = inspect_model(written(keras(data)))
    except ModelError as error:
        assert str(error) and "\n" not in str(error)
        return
    json.loads(data)
    assert not any(
        "lambda" in each.lower() and each not in ("TFOpLambda", "SlicingOpLambda") for each in found.layers
    )
