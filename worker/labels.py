"""The classes file and the thresholds file."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from worker.inspect_model import ModelError

COLUMNS = ("class", "top1_minval", "top1_maxval", "top2_minval", "top2_maxval", "correct_percentage")
MISSING = -1.0
"""The value of an empty or unreadable cell, as in the original."""


@dataclass(frozen=True)
class Threshold:
    """What a class's validation images say: scores and a share, 0 to 1, or `MISSING`."""

    top1_min: float
    top2_max: float
    correct: float

    @property
    def value(self) -> float:
        """The score that an answer must exceed, by the original's formula."""
        distance = self.top1_min - self.top2_max
        return self.top1_min - (1 - self.correct) * distance / 2


def read_classes(path: Path) -> tuple[str, ...]:
    """Read one class name a line, in the order of the model's outputs.

    Raises:
        ModelError: naming the line that is empty or repeats another.
    """
    lines = [line.strip() for line in _read(path, "INFERENCE_CLASSES_FILE").rstrip().splitlines()]
    seen: dict[str, int] = {}
    for number, name in enumerate(lines, 1):
        if not name:
            raise ModelError(f"{path}, line {number}: is empty; a class name stands on each line")
        if name in seen:
            raise ModelError(
                f"{path}, line {number}: repeats {name!r} of line {seen[name]}; names must differ"
            )
        seen[name] = number
    if not lines:
        raise ModelError(f"{path} is empty; a class name stands on each line")
    return tuple(lines)


def read_thresholds(path: Path, classes: tuple[str, ...]) -> dict[str, Threshold]:
    """Read the thresholds of those classes that have a row.

    Raises:
        ModelError: naming the row that is wrong.
    """
    rows = csv.reader(_read(path, "INFERENCE_THRESHOLDS_FILE").splitlines())
    next(rows, None)  # one header line, whatever its words
    known, found = set(classes), {}
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        where = f"{path}, line {rows.line_num}"
        if len(row) != len(COLUMNS):
            raise ModelError(f"{where}: has {len(row)} cells; a row has {len(COLUMNS)}: {','.join(COLUMNS)}")
        name = row[0].strip()
        if name not in known:
            raise ModelError(f"{where}: the class {name!r} is not in the classes file")
        if name in found:
            raise ModelError(f"{where}: a second row for the class {name!r}")
        found[name] = Threshold(_cell(row[1]), _cell(row[4]), _cell(row[5]))
    return found


def check_labels(outputs: int, classes: tuple[str, ...], path: Path) -> None:
    """See that there is a class for each output of the model.

    Raises:
        ModelError: naming both numbers.
    """
    if len(classes) != outputs:
        raise ModelError(
            f"the model has {outputs} outputs and {path} names {len(classes)} classes; they must be as many"
        )


def _cell(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return MISSING
    return value if math.isfinite(value) else MISSING


def _read(path: Path, setting: str) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ModelError(f"{setting}: {path} can't be read: {reason}") from None
