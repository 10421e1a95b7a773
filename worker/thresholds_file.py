"""The thresholds file: a CSV with a row of statistics for each class.

The header of a file from `calibrate` contains the file's provenance: the model and the settings that decided
the scores from which the thresholds were chosen.
"""

import csv
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.settings import Settings
from worker.classes_file import read_text
from worker.model_allowlist import ModelError

COLUMNS = ("class", "top1_minval", "top1_maxval", "top2_minval", "top2_maxval", "correct_percentage")
MISSING = -1.0
"""Value for a cell that is empty or not a number.

The server that this project replaces uses the same value."""
_COLUMNS = ",".join(COLUMNS)

PROVENANCE = (
    *("model", "precision", "preprocess", "activation", "color", "resize", "input", "mean", "std"),
    "output",
)
"""Names of the fields of a file's provenance. The server compares the fields that a file contains."""

_PROVENANCE_COLUMN = COLUMNS.index("top2_minval")
# Older servers, and the server that this project replaces, refuse or misread comment lines and more columns.
# They accept any header of six cells. The fields are in this column's header, because no reader uses the
# column to compute a threshold. So scripts that address the other columns by their names work too.
_FIELD = re.compile(rf"\s+({'|'.join(PROVENANCE)})=([\w.-]{{1,64}})")


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


def provenance(settings: Settings, fingerprint: str, shape: tuple[int, int, int]) -> dict[str, str]:
    """Return the model and the settings that decide scores, as texts by the names in `PROVENANCE`.

    `fingerprint` is the SHA-256 of the model. `shape` is the height, width and channels of its input. There
    is no date, so that equal calibrations write equal files with the same hash.
    """
    size = "x".join(map(str, shape))
    chosen = (settings.precision, settings.preprocess, settings.activation)
    numbers = [
        "_".join(f"{number:.6g}" for number in each) for each in (settings.mean or (), settings.std or ())
    ]
    values = (fingerprint, *chosen, settings.input_color, settings.input_resize, size, *numbers)
    values += (re.sub(r"[^\w.-]", "_", settings.output or "")[:64],)
    return {name: value for name, value in zip(PROVENANCE, values, strict=True) if value}


def header(fields: Mapping[str, str]) -> list[str]:
    """Return the cells of the header of a thresholds file with this provenance."""
    cells = list(COLUMNS)
    cells[_PROVENANCE_COLUMN] += "".join(f" {name}={value}" for name, value in fields.items())
    return cells


def read_provenance(path: Path) -> dict[str, str]:
    """Return the provenance in the header of a thresholds file; a file written by hand has no provenance.

    Raises:
        ModelError: the file can't be read.
    """
    return dict(_FIELD.findall(read_text(path, "INFERENCE_THRESHOLDS_FILE").partition("\n")[0]))


def provenance_warnings(path: Path, running: Mapping[str, str]) -> list[str]:
    """Compare a thresholds file's provenance with the provenance of the running model.

    The returned list has one warning, or it is empty if all fields in the file are as expected.

    Raises:
        ModelError: the file can't be read.
    """
    written = read_provenance(path)
    differing = [name for name, value in running.items() if written.get(name, value) != value]
    if not differing:
        return []
    expected, got = (_listed({name: each[name] for name in differing}) for each in (running, written))
    return [
        f"INFERENCE_THRESHOLDS_FILE: expected thresholds for {expected}, got thresholds for {got}. Run"
        " `classification-server calibrate` with this model and these settings, or use the model's own file."
    ]


def _listed(fields: Mapping[str, str]) -> str:
    short = {name: value[:12] if name == "model" else value for name, value in fields.items()}
    return ", ".join(f"{name} {value}" for name, value in short.items())


def _check_header(where: str, cells: list[str], known: Collection[str]) -> None:
    """Reject a thresholds file without a header, or with columns in another order than `COLUMNS`.

    A header with other column names is accepted. The server that this project replaces also accepts it.
    """
    _check_length(where, cells)
    names = [_FIELD.sub("", cell).strip().lower() for cell in cells]
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
