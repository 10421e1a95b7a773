"""What is measured: the user's own model, or two that stand for the heavy and the light."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import demo

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "classification-server"


@dataclass(frozen=True)
class Subject:
    """A model, as settings, and the images that it is asked about."""

    name: str
    environ: dict[str, str]
    images: list[Path]


def own(images: list[Path]) -> Subject:
    """The model of the environment's settings."""
    return Subject("own", {}, images or photos(CACHE))


def light() -> Subject:
    """The demo model, and images as small as its input: what is measured is all but the model."""
    environ = {
        "INFERENCE_MODEL": str(demo.MODEL),
        "INFERENCE_CLASSES_FILE": str(demo.CLASSES),
        "INFERENCE_THRESHOLDS_FILE": str(demo.THRESHOLDS),
    }
    return Subject("light", environ, _thumbnails(CACHE))


def inception() -> Subject:
    """InceptionV3 at 299×299, its weights random: built once, and kept in the user's cache."""
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
    environ = {
        "INFERENCE_MODEL": str(model),
        "INFERENCE_CLASSES_FILE": str(classes),
        "INFERENCE_THRESHOLDS_FILE": str(thresholds),
    }
    return Subject("inception_v3", environ, photos(CACHE))


def _randomize_normalization(network: Any) -> None:
    """As training leaves it: fresh from the shelf it adds nothing, and TensorFlow would leave it out."""
    import keras
    import numpy as np

    chance = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            weights = (each + chance.normal(0, 0.1, each.shape) for each in layer.get_weights())
            layer.set_weights([np.abs(each) for each in weights])


def photos(folder: Path) -> list[Path]:
    """Made-up photos of 640×480: smooth shapes with noise, so that their JPEG is as large as a photo's."""
    return _pictures(folder, "photo", (640, 480), 20)


def _thumbnails(folder: Path) -> list[Path]:
    from PIL import Image

    paths = []
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((demo.SAMPLES / "digits").iterdir()):
        paths.append(folder / f"thumbnail-{source.stem}.jpg")
        Image.open(source).convert("RGB").resize((32, 32)).save(paths[-1], quality=90)
    return paths


def _pictures(folder: Path, name: str, size: tuple[int, int], noise: int) -> list[Path]:
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    chance, paths = np.random.default_rng(0), [folder / f"{name}-{n}.jpg" for n in range(8)]
    for path in paths:
        shapes = Image.fromarray(chance.integers(0, 256, (9, 12, 3), np.uint8)).resize(
            size, Image.Resampling.BICUBIC
        )
        grain = chance.normal(0, noise, (size[1], size[0], 1))
        Image.fromarray(np.clip(np.asarray(shapes) + grain, 0, 255).astype(np.uint8)).save(path, quality=85)
    return paths
