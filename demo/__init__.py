"""A small real model, so that a fresh clone answers real images: see demo/README.md.

Importing this package gives paths only; `demo.train` makes the files again.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
MODEL = FOLDER / "model.h5"
CLASSES = FOLDER / "classes.txt"
THRESHOLDS = FOLDER / "thresholds.csv"
SAMPLES = FOLDER / "samples"
EXPECTED = SAMPLES / "expected.json"
