"""Images whose class is known: in folders named by class, or listed in a table."""

import csv
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class CalibrationError(ValueError):
    """Images, labels or model don't allow it; the message says which, and what to do."""


@dataclass(frozen=True)
class Labelled:
    """An image file and the number of its class among the model's outputs."""

    path: Path
    truth: int


def from_folders(folder: Path, classes: Sequence[str]) -> list[Labelled]:
    """The files of a folder that has a folder for each class; hidden ones are left out.

    Raises:
        CalibrationError: a folder is not named by a class, or there are no files.
    """
    if not folder.is_dir():
        raise CalibrationError(f"there is no folder {folder}")
    number = {name: index for index, name in enumerate(classes)}
    folders = [each for each in sorted(folder.iterdir()) if each.is_dir() and not each.name.startswith(".")]
    if not folders:
        raise CalibrationError(
            f"{folder} has no folders: it takes a folder of images for each class, or --labels FILE.csv"
        )
    _check({each.name: f"the folder {each.name}" for each in folders}, number)
    images = [Labelled(file, number[each.name]) for each in folders for file in _files(each)]
    if not images:
        raise CalibrationError(f"the folders in {folder} hold no files")
    return images


def from_table(table: Path, folder: Path, classes: Sequence[str]) -> list[Labelled]:
    """The files of a CSV table with the columns file and label; paths start in `folder`.

    Raises:
        CalibrationError: the table can't be read, a label is no class, or a file has two.
    """
    number = {name: index for index, name in enumerate(classes)}
    try:
        rows = list(_rows(table))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CalibrationError(f"{table} can't be read: {error}") from None
    places: dict[str, str] = {}
    seen: dict[str, int] = {}
    for line, file, label in rows:
        places.setdefault(label, f"{table}, line {line}: the label {label!r}")
        if file in seen:
            raise CalibrationError(f"{table}, line {line}: repeats {file} of line {seen[file]}")
        seen[file] = line
    _check(places, number)
    if not rows:
        raise CalibrationError(f"{table} has no rows")
    return [Labelled(folder / file, number[label]) for _, file, label in rows]


def _rows(table: Path) -> Iterator[tuple[int, str, str]]:
    with table.open(encoding="utf-8-sig", newline="") as lines:
        header = lines.readline()
        # Spreadsheets of many languages part cells with semicolons.
        delimiter = ";" if ";" in header and "," not in header else ","
        names = [name.strip().strip('"').lower() for name in header.split(delimiter)]
        if not {"file", "label"} <= set(names):
            raise CalibrationError(f"{table}, line 1: the header must name the columns file and label")
        reader = csv.reader(lines, delimiter=delimiter)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            line = reader.line_num + 1
            if len(cells) != len(names):
                raise CalibrationError(
                    f"{table}, line {line}: has {len(cells)} cells; the header has {len(names)}"
                )
            row = dict(zip(names, (cell.strip() for cell in cells), strict=True))
            yield line, row["file"], row["label"]


def _check(places: Mapping[str, str], known: Mapping[str, int]) -> None:
    """See that each label is a class; `places` says where it was first met."""
    faults = []
    for label, place in places.items():
        if label not in known:
            near = difflib.get_close_matches(label, known, n=1)
            faults.append(
                f"{place} is not in the classes file" + (f"; did you mean {near[0]!r}?" if near else "")
            )
    if faults:
        more = [f"and {len(faults) - 10} more"] if len(faults) > 10 else []
        raise CalibrationError("\n".join(faults[:10] + more))


def _files(folder: Path) -> list[Path]:
    return sorted(
        each
        for each in folder.rglob("*")
        if each.is_file() and not any(part.startswith(".") for part in each.relative_to(folder).parts)
    )
