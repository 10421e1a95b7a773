"""Draws labelled photos for `calibrate` to try: `python -m demo.labelled FOLDER`.

They show the validation digits, from which the demo's own thresholds come, in looks that it has not seen.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.random import default_rng

from demo.digits import NAMES, ORGANS, draw_photo, output_of, parts

OWN_SEED = 99
"""Another than the demo's: the same digits look different here."""


def write_labelled(folder: Path, each: int) -> None:
    """Write `each` photos of every class, or as many as there are digits of it, into a folder of its name."""
    _, validation, _ = parts()
    for value in range(10):
        mine = np.flatnonzero(validation.values == value)[:each]
        for organ in range(len(ORGANS)):
            place = folder / NAMES[output_of(value, organ)]
            place.mkdir(parents=True, exist_ok=True)
            for number in mine:
                rng = default_rng((OWN_SEED, int(number), organ))
                draw_photo(validation.digits[number], organ, rng).save(place / f"{number}.jpg", quality=90)


def main() -> None:
    """Write the photos into the folder that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--each", type=int, default=27, metavar="N", help="photos of each class (27, or fewer)"
    )
    options = parser.parse_args()
    write_labelled(options.folder, options.each)


if __name__ == "__main__":
    main()
