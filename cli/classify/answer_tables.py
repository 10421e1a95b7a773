"""Answers of many photos as CSV, JSON lines or Parquet; the file's ending says which."""

import csv
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cli import CommandError, install_hint

COLUMNS = ("file", "x", "y", "side", "rank", "class", "score", "accepted", "threshold", "error")
"""Of CSV and Parquet: a row for each answer; x, y and side are empty for the whole photo."""

ROWS_AT_ONCE = 10_000

Records = Iterable[dict[str, Any]]


def check(path: Path) -> None:
    """See that a file of this name can be written here.

    Raises:
        CommandError: its ending is unknown, or the package for it is missing.
    """
    if path.suffix not in WRITERS:
        raise CommandError(f"{path}: its ending must be one of {', '.join(WRITERS)}")
    if path.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise CommandError(f"Parquet needs pyarrow: {install_hint('parquet')}; or write .csv") from None


def write(path: Path, records: Records) -> None:
    """Write the records there; the file appears when it is whole.

    Raises:
        OSError: it can't be written.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    WRITERS[path.suffix](unfinished, records)
    unfinished.replace(path)


def rows(record: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of one photo: its answers, the best first, or one row that says why there is none."""
    if "error" in record:
        yield (record["file"], *(None,) * 8, record["error"]["detail"])
        return
    for region in record["result"]["regions"]:
        square = region["region"] or (None, None, None)
        for rank, each in enumerate(region["predictions"], 1):
            told = (each["class"], each["score"], each["accepted"], each["threshold"])
            yield (record["file"], *square, rank, *told, None)


def _write_csv(path: Path, records: Records) -> None:
    # Names that are not UTF-8 are written as the bytes that they are.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for record in records:
            writer.writerows([_cell(each) for each in row] for row in rows(record))


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _write_lines(path: Path, records: Records) -> None:
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            told = {"file": record["file"]} | (record.get("result") or {"error": record.get("error")})
            file.write(json.dumps(told) + "\n")


def _write_parquet(path: Path, records: Records) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    whole, text = pa.int32(), pa.string()
    kinds = (text, whole, whole, whole, whole, text, pa.float64(), pa.bool_(), pa.float64(), text)
    schema = pa.schema(list(zip(COLUMNS, kinds, strict=True)))
    found = (row for record in records for row in rows(record))
    with parquet.ParquetWriter(path, schema) as writer:
        while some := list(itertools.islice(found, ROWS_AT_ONCE)):
            columns = [list(column) for column in zip(*some, strict=True)]
            columns[0] = [printable(name) for name in columns[0]]
            writer.write_table(pa.table(columns, schema=schema))


def printable(name: str) -> str:
    """A file's name as text; what in it is no UTF-8 becomes a question mark in a diamond."""
    return os.fsencode(name).decode("utf-8", "replace")


WRITERS: dict[str, Callable[[Path, Records], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_lines,
    ".parquet": _write_parquet,
}
