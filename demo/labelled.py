"""Draws labelled photos for a trial of the `calibrate` command: `python -m demo.labelled FOLDER`.

The photos show the validation digits. The demo model's thresholds were computed from the same digits. The
random styles of these photos did not occur in the model's training.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.random import default_rng

from demo.digits import NAMES, ORGANS, draw_photo, output_of, split_digits

LABELLED_SEED = 99
"""Random seed of the labelled photos.

This seed differs from `SEED`, from which the photos for the demo model's thresholds get their random styles.
"""


def write_labelled(folder: Path, each: int) -> None:
    """Write the photos of each class into a folder with the class's name.

    Each class gets at most `each` photos.
    """
    _, validation, _ = split_digits()
    for value in range(10):
        indices = np.flatnonzero(validation.values == value)[:each]
        for organ in range(len(ORGANS)):
            place = folder / NAMES[output_of(value, organ)]
            place.mkdir(parents=True, exist_ok=True)
            for index in indices:
                rng = default_rng((LABELLED_SEED, int(index), organ))
                draw_photo(validation.digits[index], organ, rng).save(place / f"{index}.jpg", quality=90)


def main() -> None:
    """Write the photos into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--each", type=int, default=27, metavar="N", help="photos per class (default: 27)")
    options = parser.parse_args()
    write_labelled(options.folder, options.each)


if __name__ == "__main__":
    main()
