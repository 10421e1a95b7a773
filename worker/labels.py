"""The classes file and the thresholds file."""

import csv
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from worker.model_allowlist import ModelError

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
    return parse_classes(_read(path, "INFERENCE_CLASSES_FILE"), str(path))


def parse_classes(text: str, where: str) -> tuple[str, ...]:
    """The names in a classes file's text; `where` is what messages call it.

    Raises:
        ModelError: naming the line that is empty or repeats another.
    """
    text = text.rstrip()
    lines = [line.strip() for line in text.split("\n")] if text else []
    seen: dict[str, int] = {}
    for number, name in enumerate(lines, 1):
        if not name:
            raise ModelError(f"{where}, line {number}: is empty; a class name stands on each line")
        if name in seen:
            raise ModelError(
                f"{where}, line {number}: repeats {name!r} of line {seen[name]}; names must differ"
            )
        seen[name] = number
    if not lines:
        raise ModelError(f"{where} is empty; a class name stands on each line")
    return tuple(lines)


def read_thresholds(path: Path, classes: tuple[str, ...]) -> dict[str, Threshold]:
    """Read the thresholds of those classes that have a row.

    Raises:
        ModelError: naming the row that is wrong.
    """
    rows = csv.reader(_read(path, "INFERENCE_THRESHOLDS_FILE").split("\n"))
    known, found = set(classes), dict[str, Threshold]()
    try:
        _check_header(f"{path}, line 1", next(rows), known)
        for row in rows:
            if any(cell.strip() for cell in row):
                _check_row(f"{path}, line {rows.line_num}", row, known, found)
                found[row[0].strip()] = Threshold(_cell(row[1]), _cell(row[4]), _cell(row[5]))
    except csv.Error as error:
        raise ModelError(f"{path}, line {rows.line_num}: is not CSV: {error}") from None
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


def _check_header(where: str, cells: list[str], known: Collection[str]) -> None:
    """Refuse what is no header, so that no class's row is lost and no column is taken for another.

    A header in other words is taken, as in the original.
    """
    names = [cell.strip().lower() for cell in cells]
    if len(names) != len(COLUMNS):
        raise ModelError(
            f"{where}: has {len(names)} cells; the header has {len(COLUMNS)}: {','.join(COLUMNS)}"
        )
    if cells[0].strip() in known or any(_cell(name) != MISSING for name in names[1:]):
        raise ModelError(f"{where}: is a class's row; the first line is the header: {','.join(COLUMNS)}")
    for place, name in enumerate(names):
        if name in COLUMNS and name != COLUMNS[place]:
            raise ModelError(f"{where}: has {name} in another place than here: {','.join(COLUMNS)}")


def _check_row(where: str, row: list[str], known: Collection[str], found: Collection[str]) -> None:
    name = row[0].strip()
    if len(row) != len(COLUMNS):
        raise ModelError(f"{where}: has {len(row)} cells; a row has {len(COLUMNS)}: {','.join(COLUMNS)}")
    if name not in known:
        raise ModelError(f"{where}: the class {name!r} is not in the classes file")
    if name in found:
        raise ModelError(f"{where}: a second row for the class {name!r}")


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
