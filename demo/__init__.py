"""A small trained model, with which a fresh clone classifies real images: see demo/README.md.

This module has paths only; `demo.train` makes the files.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
MODEL = FOLDER / "model.h5"
CLASSES = FOLDER / "classes.txt"
THRESHOLDS = FOLDER / "thresholds.csv"
SAMPLES = FOLDER / "samples"
EXPECTED = SAMPLES / "expected.json"


def settings(model: Path, classes: Path, thresholds: Path) -> dict[str, str]:
    """Return the environment variables that name a model's files."""
    return {
        "INFERENCE_MODEL": str(model),
        "INFERENCE_CLASSES_FILE": str(classes),
        "INFERENCE_THRESHOLDS_FILE": str(thresholds),
    }


SETTINGS = settings(MODEL, CLASSES, THRESHOLDS)
