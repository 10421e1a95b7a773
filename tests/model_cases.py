"""Builds models with one library: `python -m tests.model_cases keras|tf_keras FOLDER [NAME …]`.

Each model is saved with 12 images and the library's own predictions in NAME.npz. The pixels are divided
by 255.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from worker.keras_compat import NOT_FOR_SERVING, import_keras

Build = Callable[[Any], Any]


def images(shape: tuple[int, ...]) -> np.ndarray:
    """Return 12 images, uint8 [12, *shape], of different brightness and colour."""
    random = np.random.default_rng(1)
    base = random.integers(0, 256, (12, *[1 if size > 3 else size for size in shape]))
    noise = random.integers(-40, 41, (12, *shape))
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def body(k: Any, shape: tuple[int, ...] = (16, 16, 3), last: Any = None, **options: Any) -> Any:
    x = given = k.Input(shape)
    x = k.layers.Conv2D(6, 3, activation="relu", **options)(x)
    x = k.layers.GlobalAveragePooling2D(**options)(x)
    return k.Model(given, [each(x) for each in last] if isinstance(last, list) else last(x))


def dense(k: Any, units: int = 4, activation: Any = "softmax", **options: Any) -> Any:
    return k.layers.Dense(units, activation=activation, **options)


def flat(k: Any) -> Any:
    return k.Sequential([k.Input((16, 16)), k.layers.Flatten(), dense(k)])


def reshape_first(k: Any) -> Any:
    if k.__name__ == "keras":
        return k.Sequential([k.Input((16, 16)), k.layers.Reshape((16, 16, 1)), k.layers.Flatten(), dense(k)])
    reshape = k.layers.Reshape((16, 16, 1), input_shape=(16, 16))
    return k.Sequential([reshape, k.layers.Conv2D(3, 3), k.layers.Flatten(), dense(k)])


def convolution_at_the_end(k: Any) -> Any:
    x = given = k.Input((16, 16, 3))
    x = k.layers.GlobalAveragePooling2D(keepdims=True)(k.layers.Conv2D(6, 3, activation="relu")(x))
    return k.Model(given, k.layers.Conv2D(4, 1, activation="softmax")(x))


def two_heads(k: Any) -> Any:
    return body(k, last=[dense(k, 3, name="sex"), dense(k, 5, name="age")])


def operation_at_the_end(k: Any) -> Any:
    import tensorflow as tf

    model = body(k, last=dense(k, activation=None))
    softmax = tf.nn.softmax if k.__name__ == "tf_keras" else k.ops.softmax
    return k.Model(model.input, softmax(model.output))


def common_package(k: Any) -> Any:
    """Build a model with layers as the packages efficientnet and keras-efficientnets define them."""

    class FixedDropout(k.layers.Dropout):  # type: ignore[misc]
        pass

    class DropConnect(k.layers.Layer):  # type: ignore[misc]
        def __init__(self, drop_connect_rate: float = 0.0, **options: Any) -> None:
            super().__init__(**options)
            self.drop_connect_rate = drop_connect_rate

        def call(self, x: Any, training: Any = None) -> Any:
            return x

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "drop_connect_rate": self.drop_connect_rate}

    class Swish(k.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return k.activations.swish(x)

    class EfficientNetConvInitializer(k.initializers.Initializer):  # type: ignore[misc]
        def __call__(self, shape: Any, dtype: Any = None, **_: Any) -> Any:
            return k.initializers.HeNormal(seed=1)(shape, dtype)

        def get_config(self) -> dict[str, Any]:
            return {}

    x = given = k.Input((16, 16, 3))
    x = Swish()(k.layers.Conv2D(6, 3, kernel_initializer=EfficientNetConvInitializer())(x))
    x = k.layers.GlobalAveragePooling2D()(DropConnect(0.2)(x))
    return k.Model(given, dense(k)(FixedDropout(0.2, noise_shape=(None, 1))(x)))


def channels_first(k: Any) -> Any:
    x = given = k.Input((3, 16, 16))
    options = {"data_format": "channels_first"}
    x = k.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", **options)(x)
    x = k.layers.BatchNormalization(axis=1)(x)
    x = k.layers.MaxPooling2D(**options)(x)
    x = k.layers.DepthwiseConv2D(3, padding="same", **options)(x)
    return k.Model(given, dense(k)(k.layers.Flatten()(x)))


def random_augmentation(k: Any) -> Any:
    x = given = k.Input((16, 16, 3))
    x = k.layers.RandomRotation(0.5)(k.layers.RandomFlip()(x))
    return k.Model(given, dense(k)(k.layers.Flatten()(x)))


def resized(k: Any) -> Any:
    """Build a model whose export by Keras 3.15 keeps its layers in training mode."""
    x = given = k.Input((16, 16, 3))
    x = k.layers.BatchNormalization()(k.layers.Conv2D(6, 3)(k.layers.Resizing(12, 12)(x)))
    return k.Model(given, dense(k)(k.layers.Flatten()(x)))


CASES: dict[str, Build] = {
    "binary": lambda k: body(k, last=dense(k, 1, "sigmoid")),
    "binary logit": lambda k: body(k, last=dense(k, 1, None)),
    "logits": lambda k: body(k, last=dense(k, activation=None)),
    "multilabel": lambda k: body(k, last=dense(k, activation="sigmoid")),
    "multilabel logits": lambda k: body(k, last=dense(k, activation=None)),
    "tanh": lambda k: body(k, last=dense(k, activation="tanh")),
    "softmax operation": operation_at_the_end,
    "no channels": flat,
    "reshape first": reshape_first,
    "axes of 1": convolution_at_the_end,
    "two heads": two_heads,
    "common package": common_package,
    "channels first": channels_first,
    "random augmentation": random_augmentation,
    "resized": resized,
}


def build(k: Any, name: str) -> Any:
    """Return a model with scores that depend on the images."""
    k.utils.set_random_seed(sum(map(ord, name)))
    model = CASES[name](k)
    for weight in model.weights:
        if "seed" not in weight.name:
            weight.assign(weight.numpy() * 3 if "kernel" in weight.name else weight.numpy())
    return model


def save(k: Any, name: str, folder: Path) -> None:
    """Save a model in all formats, and its predictions."""
    model, path = build(k, name), str(folder / name.replace(" ", "_"))
    pixels = images(model.input_shape[1:])
    if name == "channels first":  # No CPU runs it in Keras itself, so the reference computes with XLA.
        model.compile(jit_compile=True)
    found = model.predict(pixels.astype(np.float32) / 255, verbose=0)
    heads = found if isinstance(found, list) else [found]
    np.savez(f"{path}.npz", pixels=pixels, **{f"head{index}": each for index, each in enumerate(heads)})
    model.save(f"{path}.h5")
    if name in ("binary", "two heads", "common package", "channels first", "random augmentation", "resized"):
        model.save(f"{path}.keras")
        model.export(f"{path}_saved", verbose=False) if k.__name__ == "keras" else model.save(
            f"{path}_saved", save_format="tf"
        )


def main() -> None:
    """Build all cases with the library that the first argument names."""
    library, folder = sys.argv[1], Path(sys.argv[2])
    sys.modules.update(dict.fromkeys(NOT_FOR_SERVING))  # type: ignore[arg-type]
    if library == "keras":
        import_keras()
        import keras as k
    else:
        import tf_keras as k
    for name in sys.argv[3:] or CASES:
        save(k, name, folder)


if __name__ == "__main__":
    main()
