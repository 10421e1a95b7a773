"""The thresholds file: a CSV with a row of statistics for each class.

The header of a file from `calibrate` contains the file's provenance: the model and the settings that decided
the scores from which the thresholds were chosen.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from shared.settings import Settings
from worker.class_lookup import ClassLookup
from worker.model_allowlist import ModelError
from worker.text_file import Remark, listed, read_text

COLUMNS = ("class", "top1_minval", "top1_maxval", "top2_minval", "top2_maxval", "correct_percentage")
MISSING = -1.0
"""Value for a cell that is empty, or that says in one word that there is no number.

The server that this project replaces uses the same value."""
MAX_SCORE = 1e6
"""Maximum size of a score in a file from `calibrate`."""

ROUNDING = 1e-6
"""Maximum difference by which a score may exceed 1. Sums of 32-bit numbers have such differences."""

MAX_HEADER = 4096
"""Maximum length of the header in which the separator is looked for, in characters."""

_COLUMNS = ",".join(COLUMNS)
_USED = ("top1_minval", "top2_maxval", "correct_percentage")
_BLANK = ' ,;\t"'
_EXCEL = re.compile(r"\"?sep=([,;\t])\"?[,;\t]*", re.IGNORECASE)
_DELIMITERS = {";": "semicolons", "\t": "tabs"}
_EMPTY = {
    *("", "-", "--", "–", "—", "nan", "na", "n/a", "n.a.", "n/d", "#n/a", "#n/d", "<na>", "null"),
    *("none", "nil", "#nv"),
}
_NUMBER = re.compile(r"([+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d{1,3})?)\s?(%?)")

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


@dataclass(frozen=True)
class ThresholdsFile:
    """The thresholds by class name, and remarks about how the file was read."""

    thresholds: dict[str, Threshold]
    remarks: tuple[Remark, ...]


def read_thresholds_file(path: Path, classes: tuple[str, ...]) -> ThresholdsFile:
    """Read the thresholds of the classes. The keys are the names in `classes`.

    Cells may be separated by semicolons or tabs, and numbers may have decimal commas or percent signs, as in
    the files of spreadsheets.

    Raises:
        ModelError: the header, a row or a cell is invalid; the error message has the line number.
    """
    text, remarks = read_text(path, "INFERENCE_THRESHOLDS_FILE")
    layout = _Layout.of(text)
    lookup, found = ClassLookup(classes), dict[str, _Row]()
    reader = csv.reader(io.StringIO(text), delimiter=layout.delimiter)
    names: list[str] = []
    try:
        for line, cells in _filled_rows(reader):
            if line < layout.line:
                continue
            if not names:
                names = _check_header(f"{path}, line {line}", cells, lookup, text)
                continue
            row = _read_row(f"{path}, line {line}", cells, lookup, layout.is_calibrated)
            _check_first(row, found)
            found[row.name] = row
    except csv.Error as error:
        raise ModelError(f"{path}, line {reader.line_num}: expected CSV, got an error: {error}") from None
    if not names:
        _check_length(f"{path}, line 1", [], text)
    rows = list(found.values())
    _check_order(f"{path}, line {layout.line}", names, rows)
    remarks += _remarks(path, layout, rows)
    return ThresholdsFile({row.name: row.threshold for row in rows}, tuple(remarks))


def read_thresholds(path: Path, classes: tuple[str, ...]) -> dict[str, Threshold]:
    """Read the thresholds as `read_thresholds_file` does, without the remarks.

    Raises:
        ModelError: as in `read_thresholds_file`.
    """
    return read_thresholds_file(path, classes).thresholds


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
    return dict(_FIELD.findall(_Layout.of(read_text(path, "INFERENCE_THRESHOLDS_FILE")[0]).header))


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


@dataclass(frozen=True)
class _Layout:
    """The separator of the cells, the header's text, and the header's line number."""

    delimiter: str
    header: str
    line: int

    @classmethod
    def of(cls, text: str) -> "_Layout":
        """Find the header: the first line with text, except a line such as `sep=;` of Excel."""
        lines = ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip(_BLANK))
        line, header = next(lines, (1, ""))
        if excel := _EXCEL.fullmatch(header.strip()):
            line, header = next(lines, (line + 1, ""))
            return cls(excel[1], header, line)
        counts = {each: len(next(csv.reader([header[:MAX_HEADER]], delimiter=each), [])) for each in ",;\t"}
        return cls(max(counts, key=lambda each: (counts[each] == len(COLUMNS), counts[each])), header, line)

    @property
    def is_calibrated(self) -> bool:
        return bool(_FIELD.search(self.header))


@dataclass(frozen=True)
class _Row:
    """A row: its class, its line number, its numbers by column, and the texts of its cells."""

    name: str
    where: str
    numbers: dict[str, float]
    cells: list[str]

    @property
    def threshold(self) -> Threshold:
        return Threshold(*(self.numbers[column] for column in _USED))

    def sign(self, low: str, high: str) -> int:
        """Return 1 if column `low` is higher than `high`, -1 if lower, 0 if equal or empty."""
        one, other = self.numbers[low], self.numbers[high]
        return 0 if MISSING in (one, other) else (one > other) - (one < other)

    @property
    def is_incomplete(self) -> bool:
        return MISSING in vars(self.threshold).values()

    @property
    def is_contradictory(self) -> bool:
        """Whether the lowest score is above the highest score.

        If no score reaches the precision, `calibrate` writes equal values as `top1_minval` and `top2_maxval`.
        """
        low, high, other = (self.numbers[each] for each in ("top1_minval", "top1_maxval", "top2_maxval"))
        return low > high != MISSING and low != other

    @property
    def is_unreachable(self) -> bool:
        """Whether the threshold is 1 or more. A model whose scores exceed 1 has other thresholds."""
        return self.threshold.value >= 1 and max(self.numbers.values()) <= 1 + ROUNDING


def _filled_rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not empty, with the number of its first line."""
    line = 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield line, cells
        line = reader.line_num + 1


def _check_header(where: str, cells: list[str], lookup: ClassLookup, text: str) -> list[str]:
    """Reject a thresholds file without a header, or with columns in another order than `COLUMNS`.

    A header with other column names is accepted. The server that this project replaces also accepts it.
    Returns the names of the columns.
    """
    _check_length(where, cells, text)
    names = [_FIELD.sub("", cell).strip().lower() for cell in cells]
    if names == list(COLUMNS):  # A class may have the name of the first column.
        return names
    if lookup.find(cells[0]) is not None or any(_number(each) not in (None, MISSING) for each in names[1:]):
        raise ModelError(f"{where}: expected the header, got a class's row. Add the header {_COLUMNS}.")
    for name, column in zip(names, COLUMNS, strict=True):
        if name in {*COLUMNS} - {column}:
            raise ModelError(f"{where}: expected {column}, got {name}. Order the columns as {_COLUMNS}.")
    return names


def _check_order(where: str, names: list[str], rows: list[_Row]) -> None:
    """Reject columns with unknown names whose lowest scores are above the highest scores in every row."""
    for low, high in (COLUMNS[1:3], COLUMNS[3:5]):
        signs = {row.sign(low, high) for row in rows} - {0}
        if low not in names and signs == {1}:
            got, other = names[COLUMNS.index(low)], names[COLUMNS.index(high)]
            raise ModelError(
                f"{where}: expected {low} before {high}, got {got} before {other}, and {got} is higher in"
                f" every row. Order and name the columns as {_COLUMNS}."
            )


def _read_row(where: str, cells: list[str], lookup: ClassLookup, is_calibrated: bool) -> _Row:
    _check_length(where, cells)
    label = cells[0].strip()
    index = lookup.find(label)
    if index is None:
        advice = lookup.question(label) or ". Add the class, or delete this row."
        if label.isdecimal():
            advice = ". Write the class's name instead of its number."
        raise ModelError(f"{where}: the class {label!r} is not in the classes file{advice}")
    pairs = list(zip(COLUMNS[1:], cells[1:], strict=True))
    numbers = {
        column: _share(f"{where}, {column}", cell, is_calibrated and column != COLUMNS[-1])
        for column, cell in pairs
    }
    return _Row(lookup.classes[index], where, numbers, cells[1:])


def _check_first(row: _Row, earlier: Mapping[str, _Row]) -> None:
    if row.name in earlier:
        raise ModelError(
            f"{row.where}: the file has a second row for the class {row.name!r}. Remove one of its rows."
        )


def _check_length(where: str, cells: list[str], text: str = "") -> None:
    if len(cells) != len(COLUMNS):
        advice = _length_advice(cells, text) or f"Write {_COLUMNS}."
        raise ModelError(f"{where}: expected {len(COLUMNS)} cells, got {len(cells)}. {advice}")


def _length_advice(cells: list[str], text: str) -> str:
    """Return what to do if a row has more or fewer cells than `COLUMNS`.

    For the header, `text` is the text of the file, and otherwise ''.
    """
    count, lines = len(cells), text.lower().partition("\n")[2]
    advice = {
        "Close the quote that is open in this line, or delete it.": "\n" in "".join(cells),
        "Decimal commas need semicolons between the cells, or write points: 0.9.": count == 11 and not text,
        "Delete the column without a name. With pandas, use to_csv(index=False).": cells[:1] == [""],
        f"For a threshold T of a class, write `class,T,,,,1` below the header {_COLUMNS}.": count == 2,
        f"Delete the columns after {COLUMNS[-1]}.": bool(text) and count > len(COLUMNS),
        "Delete the lines before the header.": count == 1 and "top1_minval" in lines,
        "Separate the cells in all lines by the same character.": bool(re.search(r"[;\t]", "".join(cells))),
    }
    return next((sentence for sentence, applies in advice.items() if applies), "")


def _share(where: str, cell: str, is_any_score: bool) -> float:
    """Return the number in a cell, or `MISSING` if the cell is empty.

    Raises:
        ModelError: the cell is not a number from 0 to 1. The scores in a file from `calibrate` may be other
            numbers, because models without softmax return such scores.
    """
    value = _number(cell)
    low, high = (-MAX_SCORE, MAX_SCORE) if is_any_score else (0, 1 + ROUNDING)
    if value is not None and (value == MISSING or low <= value <= high):
        return value
    raise ModelError(f"{where}: expected a number from 0 to 1, got {cell.strip()[:60]!r}. {_meant(cell)}")


def _meant(cell: str) -> str:
    """Return the question or advice for a cell that is not a number from 0 to 1."""
    value = _number(cell)
    if value is None:
        value = _number(cell.strip(" '`\"").replace("_", "."))
    elif 2 <= value <= 100 and "%" not in cell:
        return f"Did you mean {value / 100:g}?"
    if value is not None and 0 <= value <= 1:
        return f"Did you mean {value:g}?"
    return "Write a number such as 0.98, or leave the cell empty."


def _number(cell: str) -> float | None:
    """Return the number in a cell, `MISSING` if there is none, or None if the cell has other text."""
    cell = cell.strip()
    if cell.lower() in _EMPTY:
        return MISSING
    match = _NUMBER.fullmatch(cell)
    if not match:
        return None
    number = Decimal(match[1].replace(",", "."))
    return float(number / 100 if match[2] else number)


def _remarks(path: Path, layout: _Layout, rows: list[_Row]) -> Iterator[Remark]:
    if used := _spreadsheet_forms(layout.delimiter, "".join(cell for row in rows for cell in row.cells)):
        yield Remark("note", f"{path} is read with {used}")
    if empty := _names(rows, lambda row: row.is_incomplete):
        text = f"{path}: an empty cell in the row of {empty} counts as {MISSING:g} in the threshold"
        yield Remark("note", text)
    if contradictory := _names(rows, lambda row: row.is_contradictory):
        text = f"{path}: top1_minval is above top1_maxval in the row of {contradictory}. Check the columns."
        yield Remark("warning", text)
    if never := _names(rows, lambda row: row.is_unreachable):
        yield Remark("warning", f"{never} can never be accepted: the threshold is 1, and no score exceeds 1")


def _spreadsheet_forms(delimiter: str, cells: str) -> str:
    forms = {
        f"{_DELIMITERS.get(delimiter)} between the cells": delimiter != ",",
        "decimal commas": "," in cells,
        "percent signs": "%" in cells,
    }
    return ", ".join(text for text, is_used in forms.items() if is_used)


def _names(rows: list[_Row], applies: Callable[[_Row], bool]) -> str:
    return listed(row.name for row in rows if applies(row))
