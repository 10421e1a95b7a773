"""Finds images whose class is known.

The images are in one folder for each class, or a CSV table lists the images.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.class_lookup import ClassLookup
from worker.model_allowlist import ModelError
from worker.text_file import read_text

MAX_LISTED = 10
"""Maximum number of wrong labels in one error message."""


class CalibrationError(ValueError):
    """A calibration is not possible with these images, labels or model.

    The error's message contains the reason and the remedy.
    """


@dataclass(frozen=True)
class LabelledImage:
    """An image file and the index of its class among the model's outputs."""

    path: Path
    truth: int


def from_folders(folder: Path, classes: Sequence[str]) -> list[LabelledImage]:
    """Return the images of a folder that contains a folder for each class.

    Hidden files are skipped.

    Raises:
        CalibrationError: a folder's name is not a class name, or there are no files.
    """
    folders = _visible_folders(folder)
    number = _indices({each.name: f"the folder {each.name}" for each in folders}, classes)
    images = [LabelledImage(file, number[each.name]) for each in folders for file in _visible_files(each)]
    if not images:
        raise CalibrationError(
            f"{folder}: expected images in the classes' folders, got no files. Add images."
        )
    return images


def from_table(table: Path, folder: Path, classes: Sequence[str]) -> list[LabelledImage]:
    """Return the images listed in a CSV table. The file names in the table are relative to `folder`.

    Raises:
        CalibrationError: the table can't be read, a label is not a class name, or a file appears twice.
    """
    try:
        rows = list(_rows(table))
    except ModelError as error:
        raise CalibrationError(str(error)) from None
    except csv.Error as error:
        raise CalibrationError(f"{table} can't be read: {error}. Check --labels.") from None
    places: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, file, label in rows:
        places.setdefault(label, f"{table}, line {line}: the label {label!r}")
        if lines.setdefault(file, line) != line:
            raise CalibrationError(
                f"{table}, line {line}: repeats {file} of line {lines[file]}. Remove one line."
            )
    number = _indices(places, classes)
    if not rows:
        raise CalibrationError(f"{table}: expected a row for each image, got no rows. Add the rows.")
    return [LabelledImage(folder / file, number[label]) for _, file, label in rows]


def _rows(table: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the line number, file and label of each row that is not empty."""
    lines = io.StringIO(read_text(table, "--labels")[0])
    header = lines.readline()
    # Spreadsheets separate cells with semicolons in many languages.
    delimiter = ";" if ";" in header and "," not in header else ","
    names = [name.strip().strip('"').lower() for name in header.split(delimiter)]
    if not {"file", "label"} <= set(names):
        raise CalibrationError(
            f"{table}, line 1: expected the columns `file` and `label`, got {names}. Correct the header."
        )
    reader = csv.reader(lines, delimiter=delimiter)
    for cells in filter(_is_filled, reader):
        line = reader.line_num + 1
        if len(cells) != len(names):
            raise CalibrationError(
                f"{table}, line {line}: expected {len(names)} cells, got {len(cells)}. Correct the line."
            )
        row = dict(zip(names, map(str.strip, cells), strict=True))
        yield line, row["file"], row["label"]


def _is_filled(cells: list[str]) -> bool:
    return any(map(str.strip, cells))


def _indices(places: Mapping[str, str], classes: Sequence[str]) -> dict[str, int]:
    """Return the index of each label's class, by label.

    `places` describes the first place of each label, for the error message.
    """
    lookup, found = ClassLookup(classes), dict[str, int]()
    errors = []
    for label, place in places.items():
        if (index := lookup.find(label)) is None:
            errors.append(f"{place} is not in the classes file{lookup.question(label)}")
        else:
            found[label] = index
    if len(errors) > MAX_LISTED:
        errors[MAX_LISTED:] = [f"and {len(errors) - MAX_LISTED} more"]
    if errors:
        raise CalibrationError("\n".join(errors))
    return found


def _visible_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise CalibrationError(f"there is no folder {folder}. Name the folder of the labelled images.")
    folders = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    if not folders:
        raise CalibrationError(
            f"{folder}: expected a folder of images for each class, got no folders. Add the folders, or set"
            " --labels."
        )
    return folders


def _visible_files(folder: Path) -> list[Path]:
    return sorted(
        each
        for each in folder.rglob("*")
        if each.is_file() and not any(part.startswith(".") for part in each.relative_to(folder).parts)
    )
