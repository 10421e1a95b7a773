"""The demo model with ballast: the same answers, at tens of milliseconds an image."""

import sys
from pathlib import Path


def write(path: Path) -> None:
    """Save a model whose scores are the demo's, plus zero times a much larger network."""
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
