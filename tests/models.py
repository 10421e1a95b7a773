"""Small Keras models for the tests, saved in every supported format."""

import json
import os
import subprocess
import sys
from pathlib import Path

# Each library runs in its own process, as in a worker. So Keras and tf_keras share no state.
SCRIPT = """
import json, sys, zlib
from worker.keras_compat import NOT_FOR_SERVING
sys.modules.update(dict.fromkeys(NOT_FOR_SERVING))  # starts sooner, as a worker does
replies, sys.stdout = sys.stdout, sys.stderr  # Keras prints to stdout
import numpy as np
if sys.argv[1] == "keras":
    import keras
else:
    import tf_keras as keras
layers, apps = keras.layers, keras.applications
def sequential(shape, *rest):
    return keras.Sequential([layers.Input(shape), *rest])
def build(name, path):
    softmax = layers.Dense(5, activation="softmax")
    if name == "inception":
        return apps.InceptionV3(weights=None, input_shape=(139, 139, 3), classes=20)
    if name == "mobilenet":
        return apps.MobileNetV2(weights=None, input_shape=(96, 96, 3), classes=20)
    if name == "xception":
        return apps.Xception(weights=None, input_shape=(71, 71, 3), classes=5)
    if name == "grey":
        return sequential((8, 8, 1), layers.Conv2D(4, 3), layers.Flatten(), softmax)
    if name == "logits":
        return sequential((8, 8, 3), layers.Flatten(), layers.Dense(5))
    if name == "sigmoid":
        return sequential((8, 8, 3), layers.Flatten(), layers.Dense(5, activation="sigmoid"))
    if name == "open":
        return sequential((None, None, 3), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), softmax)
    if name == "lambda":
        marker = path + ".ran"
        code = layers.Lambda(lambda x, marker=marker: (open(marker, "w").close(), x)[1])
        return sequential((8, 8, 3), layers.Flatten(), code, layers.Dense(5))
    if name == "wrapped lambda":
        twice = layers.TimeDistributed(layers.Lambda(lambda x: x * 2))
        return sequential((4, 8, 8), twice, layers.Flatten(), layers.Dense(5))
    if name == "custom":
        class Mine(layers.Dense):
            pass
        keras.utils.register_keras_serializable("ours")(Mine)
        return sequential((8, 8, 3), layers.Flatten(), Mine(5))
    if name == "two outputs":
        x = layers.Input((8, 8, 3)); y = layers.Flatten()(x)
        return keras.Model(x, [layers.Dense(2)(y), layers.Dense(3)(y)])
    if name == "vector":
        return sequential((8,), layers.Dense(5))
    if name == "image":
        return sequential((8, 8, 3), layers.Conv2D(3, 3))
def make(name, path):
    keras.utils.set_random_seed(zlib.crc32(name.encode()))
    model = build(name, path)
    size = [side or 24 for side in model.input_shape[1:]]
    pixels = np.random.default_rng(1).integers(0, 256, (70, *size), np.uint8)
    inputs = apps.inception_v3.preprocess_input(pixels.astype("float32"))
    norms = [layer for layer in model.layers if layer.__class__.__name__ == "BatchNormalization"]
    if norms:
        # A model with random weights returns the same scores for every image, so any engine would pass.
        # Give the layers the statistics of their inputs, as training does, and scale up the last layer.
        momenta = [layer.momentum for layer in norms]
        for layer in norms:
            layer.momentum = 0.0
        model(inputs[:32], training=True)
        for layer, momentum in zip(norms, momenta):
            layer.momentum = momentum
        kernel, bias = model.layers[-1].get_weights()
        model.layers[-1].set_weights([kernel * 4, bias])
    if path.endswith("weights.h5"):
        model.save_weights(path)
    elif path.endswith(("h5", "hdf5", "keras")):
        model.save(path)
    elif sys.argv[1] == "keras":
        model.export(path)
    else:
        model.save(path, save_format="tf")
    if len(model.input_shape) == 4 and len(model.outputs) == 1 and "lambda" not in name:
        wanted = model.predict(inputs, verbose=0)
        assert np.ptp(wanted, axis=0).max() > 0.03, "the scores hardly depend on the image"
        np.savez(path + ".npz", pixels=pixels, wanted=wanted)
for line in sys.stdin:
    make(*json.loads(line))
    print("made", file=replies, flush=True)
"""


class Maker:
    """Builds models with Keras or tf_keras in a process of its own."""

    def __init__(self, library: str) -> None:
        environ = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, library],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def make(self, name: str, path: Path) -> Path:
        """Save the model `name` at `path`; save 70 inputs and their predictions in PATH.npz."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps([name, str(path)]), file=self._process.stdin, flush=True)
        if self._process.stdout.readline() != "made\n":
            raise RuntimeError(f"model {name} was not saved. Read the reason in stderr.")
        return path

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
