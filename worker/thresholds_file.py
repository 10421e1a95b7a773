"""The thresholds file: a CSV with a row of statistics for each class."""

import csv
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from worker.classes_file import read_text
from worker.model_allowlist import ModelError

COLUMNS = ("class", "top1_minval", "top1_maxval", "top2_minval", "top2_maxval", "correct_percentage")
MISSING = -1.0
"""Value for a cell that is empty or not a number.

The server that this project replaces uses the same value."""
_COLUMNS = ",".join(COLUMNS)


@dataclass(frozen=True)
class Threshold:
    """Statistics of a class's validation images: two scores, and the share of right answers.

    Each value is from 0 to 1, or `MISSING`.
    """

    top1_min: float
    top2_max: float
    correct: float

    @property
    def value(self) -> float:
        """The score above which a prediction is accepted.

        The formula comes from the server that this project replaces.
        """
        distance = self.top1_min - self.top2_max
        return self.top1_min - (1 - self.correct) * distance / 2


def read_thresholds(path: Path, classes: tuple[str, ...]) -> dict[str, Threshold]:
    """Return the thresholds of the classes in the thresholds file, by class name.

    Raises:
        ModelError: the header or a row is invalid; the error message has the line number.
    """
    rows = csv.reader(read_text(path, "INFERENCE_THRESHOLDS_FILE").split("\n"))
    known, found = set(classes), dict[str, Threshold]()
    try:
        _check_header(f"{path}, line 1", next(rows), known)
        for row in rows:
            if any(cell.strip() for cell in row):
                _check_row(f"{path}, line {rows.line_num}", row, known, found)
                found[row[0].strip()] = Threshold(_number(row[1]), _number(row[4]), _number(row[5]))
    except csv.Error as error:
        raise ModelError(f"{path}, line {rows.line_num}: expected CSV, got an error: {error}") from None
    return found


def _check_header(where: str, cells: list[str], known: Collection[str]) -> None:
    """Reject a thresholds file without a header, or with columns in another order than `COLUMNS`.

    A header with other column names is accepted. The server that this project replaces also accepts it.
    """
    _check_length(where, cells)
    names = [cell.strip().lower() for cell in cells]
    if cells[0].strip() in known or any(_number(name) != MISSING for name in names[1:]):
        raise ModelError(f"{where}: expected the header, got a class's row. Add the header {_COLUMNS}.")
    for name, column in zip(names, COLUMNS, strict=True):
        if name in {*COLUMNS} - {column}:
            raise ModelError(f"{where}: expected {column}, got {name}. Order the columns as {_COLUMNS}.")


def _check_row(where: str, row: list[str], known: Collection[str], found: Collection[str]) -> None:
    _check_length(where, row)
    name = row[0].strip()
    if name not in known:
        raise ModelError(
            f"{where}: the class {name!r} is not in the classes file. Add the class, or delete this row."
        )
    if name in found:
        raise ModelError(
            f"{where}: the file has a second row for the class {name!r}. Remove one of its rows."
        )


def _check_length(where: str, cells: list[str]) -> None:
    if len(cells) != len(COLUMNS):
        raise ModelError(f"{where}: expected {len(COLUMNS)} cells, got {len(cells)}. Write {_COLUMNS}.")


def _number(cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        return MISSING
    return value if math.isfinite(value) else MISSING
