"""The models that `bench` measures.

If the user has set a model, `bench` measures this model. Otherwise `bench` measures InceptionV3 and the demo
model.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import demo

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "classification-server"


@dataclass(frozen=True)
class Subject:
    """A model to measure, the environment variables that name its files, and the images to classify."""

    name: str
    environ: dict[str, str]
    images: list[Path]


def own(images: list[Path]) -> Subject:
    """Return the user's model. The environment variable INFERENCE_MODEL contains the path of this model."""
    return Subject("own", {}, images or _photos())


def light(images: Sequence[Path] = ()) -> Subject:
    """Return the demo model, with the user's images or with images of 32×32 pixels.

    This is the size of the model's input, so decoding takes little time.
    """
    return Subject("light", demo.SETTINGS, [*images] or _thumbnails())


def inception(images: Sequence[Path] = ()) -> Subject:
    """Return InceptionV3 of 299×299 pixels, with random weights, and the user's or generated images.

    The model's file is stored in the user's cache.
    """
    model, classes, thresholds = (
        CACHE / name for name in ("inception_v3_299.h5", "classes.txt", "thresholds.csv")
    )
    if not (model.exists() and classes.exists() and thresholds.exists()):
        import keras

        CACHE.mkdir(parents=True, exist_ok=True)
        keras.utils.set_random_seed(0)
        classes.write_text("".join(f"Species number{n} leaf\n" for n in range(1000)))
        thresholds.write_text("class,top1_minval,top1_maxval,top2_minval,top2_maxval,correct_percentage\n")
        unfinished = model.with_name("unfinished.h5")
        network = keras.applications.InceptionV3(weights=None)
        _randomize_normalization(network)
        network.save(unfinished)
        unfinished.rename(model)
    return Subject("inception_v3", demo.settings(model, classes, thresholds), [*images] or _photos())


def _randomize_normalization(network: Any) -> None:
    """Set the weights of the normalization layers to values like those of a trained network.

    With their initial weights, normalization layers change nothing. TensorFlow would then remove these
    layers.
    """
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            weights = (each + rng.normal(0, 0.1, each.shape) for each in layer.get_weights())
            layer.set_weights([np.abs(each) for each in weights])


def large_photos() -> list[Path]:
    """Generate images of 12 megapixels, such as a phone's camera takes."""
    return _photos("large", 3, (4000, 3000))


def _photos(name: str = "photo", count: int = 8, size: tuple[int, int] = (640, 480)) -> list[Path]:
    """Generate images that show smooth shapes with noise.

    JPEG compresses these images about as much as photos.
    """
    import numpy as np
    from PIL import Image

    CACHE.mkdir(parents=True, exist_ok=True)
    rng, paths = np.random.default_rng(0), [CACHE / f"{name}-{n}.jpg" for n in range(count)]
    for path in paths:
        colors = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
        shapes = np.asarray(colors.resize(size, Image.Resampling.BICUBIC))
        noisy = shapes + rng.normal(0, 20, (*size[::-1], 1))
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, quality=85)
    return paths


def _thumbnails() -> list[Path]:
    from PIL import Image

    CACHE.mkdir(parents=True, exist_ok=True)
    paths = []
    for source in sorted((demo.SAMPLES / "digits").iterdir()):
        paths.append(CACHE / f"thumbnail-{source.stem}.jpg")
        Image.open(source).convert("RGB").resize((32, 32)).save(paths[-1], quality=90)
    return paths
