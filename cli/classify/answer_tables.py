"""Writes the answers to many photos as CSV, JSON lines or Parquet.

The extension of the file's name selects the format.
"""

import csv
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cli import CommandError, install_hint

COLUMNS = ("file", "x", "y", "side", "rank", "class", "score", "accepted", "threshold", "error")
"""Columns of the CSV and Parquet tables. The tables have one row for each prediction.

If a photo was classified as a whole, its cells x, y and side are empty.
"""

ROWS_AT_ONCE = 10_000

Records = Iterable[dict[str, Any]]


def check(path: Path) -> None:
    """Check that a table with this file name can be written.

    Raises:
        CommandError: the extension is unknown, or a package is missing.
    """
    if path.suffix not in WRITERS:
        raise CommandError(
            f"--output: expected one of the extensions {', '.join(WRITERS)}, got {path}. Rename the file."
        )
    if path.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            hint = install_hint("parquet")
            raise CommandError(
                f"--output: a .parquet file needs pyarrow. Install pyarrow: {hint}; or name a .csv file."
            ) from None


def write(path: Path, records: Records) -> None:
    """Write the table under a temporary name. When the table is complete, give the file its final name.

    Raises:
        OSError: the table cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    WRITERS[path.suffix](unfinished, records)
    unfinished.replace(path)


def rows(record: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the table's rows for a photo: one row for each prediction, the highest score first.

    If the photo has an error, the function yields one row with this error.
    """
    if "error" in record:
        yield (record["file"], *(None,) * 8, record["error"]["detail"])
        return
    for region in record["result"]["regions"]:
        square = region["region"] or (None, None, None)
        for rank, each in enumerate(region["predictions"], 1):
            prediction = (each["class"], each["score"], each["accepted"], each["threshold"])
            yield (record["file"], *square, rank, *prediction, None)


def _write_csv(path: Path, records: Records) -> None:
    # `surrogateescape` writes the bytes of a file name unchanged, even if they are not UTF-8.
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
            line = {"file": record["file"]} | (record.get("result") or {"error": record.get("error")})
            file.write(json.dumps(line) + "\n")


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
    """Return a file name as text. The replacement character takes the place of bytes that are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


WRITERS: dict[str, Callable[[Path, Records], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_lines,
    ".parquet": _write_parquet,
}
