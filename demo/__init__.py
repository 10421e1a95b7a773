"""The paths of the demo model's files.

The command `python -m demo.train` creates these files (see demo/README.md).
"""

from pathlib import Path

FOLDER = Path(__file__).parent
MODEL = FOLDER / "model.h5"
CLASSES = FOLDER / "classes.txt"
THRESHOLDS = FOLDER / "thresholds.csv"
SAMPLES = FOLDER / "samples"
EXPECTED = SAMPLES / "expected.json"


def settings(model: Path, classes: Path, thresholds: Path) -> dict[str, str]:
    """Return the worker's environment variables for this model, these classes and these thresholds."""
    return {
        "INFERENCE_MODEL": str(model),
        "INFERENCE_CLASSES_FILE": str(classes),
        "INFERENCE_THRESHOLDS_FILE": str(thresholds),
    }


SETTINGS = settings(MODEL, CLASSES, THRESHOLDS) | {"INFERENCE_PREPROCESS": "inception_v3"}
