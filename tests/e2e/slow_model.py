"""A slow variant of the demo model: the same answers, at tens of milliseconds per image."""

import subprocess
import sys
from pathlib import Path

from tests.stack import ROOT


def create_slow_model(path: Path) -> None:
    """Save the model at `path`, in a separate process so that the tests do not load Keras."""
    subprocess.run([sys.executable, "-m", "tests.e2e.slow_model", str(path)], cwd=ROOT, check=True)


def write(path: Path) -> None:
    """Save a model whose scores are the demo model's scores plus zero times a much larger network."""
    import keras

    import demo

    light = keras.models.load_model(demo.MODEL, compile=False)
    pixels = keras.Input((32, 32, 3))
    x = keras.layers.UpSampling2D(6)(pixels)
    for _ in range(4):
        x = keras.layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    ballast = keras.layers.Dense(light.output_shape[-1], kernel_initializer="zeros")(x)
    keras.Model(pixels, keras.layers.Add()([light(pixels), ballast])).save(path)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
