"""Reads the scores that a model's trainer computed for a few images."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cli.calibrate.labelled_images import CalibrationError
from worker.class_lookup import ClassLookup
from worker.model_allowlist import ModelError
from worker.text_file import read_text

MAX_COMPARED = 100
"""Maximum number of images whose scores are compared with the trainer's scores."""

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class TrainerScores:
    """Scores that the trainer computed, [files, classes of the table], with the classes' indices."""

    files: list[Path]
    columns: list[int]
    scores: Scores


def read_trainer_scores(table: Path, folder: Path, classes: Sequence[str]) -> TrainerScores:
    """Read a CSV table with the column `file` and a column of scores for each class, or for some classes.

    File names are relative to `folder`.

    Raises:
        CalibrationError: the table is missing or malformed; the message names the line.
    """
    try:
        lines = read_text(table, "--against")[0].splitlines()
    except ModelError as error:
        raise CalibrationError(str(error)) from None
    delimiter = _delimiter(lines)
    rows = csv.reader(lines, delimiter=delimiter)
    names = [cell.strip() for cell in next(rows, [])]
    columns = _columns(table, names, classes)
    filled = [(rows.line_num, row) for row in rows if "".join(row).strip()]
    if not 0 < len(filled) <= MAX_COMPARED:
        raise CalibrationError(
            f"{table}: expected from 1 to {MAX_COMPARED} rows, got {len(filled)}. A few images are enough."
        )
    scores = [list(_scores(table, line, row, len(names), delimiter)) for line, row in filled]
    return TrainerScores([folder / row[0].strip() for _, row in filled], columns, np.array(scores))


def _delimiter(lines: Sequence[str]) -> str:
    """Return the character between cells; spreadsheets write semicolons where commas are decimal commas."""
    head = "".join(lines[:1])
    return ";" if ";" in head and "," not in head else ","


def _columns(table: Path, names: Sequence[str], classes: Sequence[str]) -> list[int]:
    if len(names) < 2 or names[0].lower() != "file":
        raise CalibrationError(
            f"{table}, line 1: expected `file` and the names of classes, got {', '.join(names)}. Correct the"
            " header."
        )
    lookup, columns = ClassLookup(classes), list[int]()
    for name in names[1:]:
        index = lookup.find(name)
        if index is None:
            question = lookup.question(name) or ". Correct the header."
            raise CalibrationError(
                f"{table}, line 1: the class {name!r} is not in the classes file{question}"
            )
        columns.append(index)
    return columns


def _scores(table: Path, line: int, row: Sequence[str], length: int, delimiter: str) -> Iterator[float]:
    if len(row) != length:
        raise CalibrationError(
            f"{table}, line {line}: expected {length} cells, got {len(row)}. Correct the line."
        )
    for cell in row[1:]:
        try:
            yield float(cell.replace(",", ".") if delimiter == ";" else cell)
        except ValueError:
            raise CalibrationError(
                f"{table}, line {line}: expected a score, got {cell!r}. Correct the cell."
            ) from None
