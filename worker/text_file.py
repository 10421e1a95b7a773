"""Reads the text of label files, in the encodings and forms in which editors and spreadsheets save them."""

import codecs
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from worker.model_allowlist import ModelError


@dataclass(frozen=True)
class Remark:
    """Information about how a label file was read.

    The `kind` is 'note', or 'warning' if the file may have been written otherwise than intended.
    """

    kind: str
    text: str


_PLAIN = "Save it as plain text or CSV, in UTF-8, from the program that wrote it."
_KINDS = tuple(
    (re.compile(pattern, re.IGNORECASE), kind, action)
    for pattern, kind, action in (
        (rb"PK\x03\x04", "a document of an office program, or a ZIP archive", _PLAIN),
        (rb"\xd0\xcf\x11\xe0", "a document of an office program", _PLAIN),
        (rb"\s*\{\\rtf", "a rich text document (RTF)", _PLAIN),
        (rb"%PDF", "a PDF document", _PLAIN),
        (rb"\s*<(!doctype|html|\?xml)", "a web page. Download the file itself, not its page", ""),
        (rb"\x89HDF", "an HDF5 file, such as a model", "Set the variable to a text file."),
        (rb"\x1f\x8b", "a gzip archive", "Unpack it with gunzip."),
        (rb"\x80[\x02-\x05]", "a pickle", "Run `classification-server classes FILE -o classes.txt`."),
    )
)
"""Files that are no text, by a pattern of their first bytes. The first match wins."""

_UTF_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, setting: str) -> tuple[str, list[Remark]]:
    """Read a file of UTF-8 text, or of UTF-16 text with a byte order mark.

    The line ends in the text are line feeds.

    Raises:
        ModelError: the file can't be read. The error message begins with the file's setting (`setting`), and
            has the command that converts the file if another encoding is probable.
    """
    try:
        text, remarks = _decode(path.read_bytes(), path, setting)
    except (OSError, _UnreadableError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ModelError(f"{setting}: {path} can't be read: {reason}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n"), remarks


def listed(names: Iterable[str]) -> str:
    """Return the first five names with commas, and the number of the other names."""
    every = list(names)
    return ", ".join(every[:5]) + (f" and {len(every) - 5} more" if len(every) > 5 else "")


class _UnreadableError(ValueError):
    """The bytes are no text in a supported encoding."""


def _decode(data: bytes, path: Path, setting: str) -> tuple[str, list[Remark]]:
    for pattern, kind, action in _KINDS:
        if pattern.match(data):
            raise _UnreadableError(f"expected UTF-8 text, got {kind}. {action}".rstrip())
    if data.startswith(_UTF_32):
        raise _UnreadableError(
            f"expected UTF-8 text, got UTF-32. To read it, {_conversion(path, setting, 'UTF-32')}"
        )
    if data.startswith(_UTF_16):
        return _from_utf_16(data), [Remark("note", f"{path} is UTF-16 text")]
    _check_nul(data, path, setting)
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        raise _UnreadableError(_other_encoding(data, error.start, path, setting)) from None


def _from_utf_16(data: bytes) -> str:
    try:
        text = data.decode("utf-16")
    except UnicodeDecodeError:
        raise _UnreadableError(
            "expected UTF-16 text because of the byte order mark, got damaged text. Save it again in UTF-8."
        ) from None
    if "\0" in text:
        raise _UnreadableError("expected text, got NUL characters. Save it again in UTF-8.")
    return text


def _check_nul(data: bytes, path: Path, setting: str) -> None:
    """Reject NUL bytes, which UTF-16 text without a byte order mark contains too."""
    if b"\0" not in data:
        return
    for name, zeros in (("UTF-16LE", data[1::2]), ("UTF-16BE", data[::2])):
        if 2 * zeros.count(0) > len(zeros):
            reason = f"expected UTF-8 text, got {name} without a byte order mark"
            raise _UnreadableError(f"{reason}. To read it, {_conversion(path, setting, name)}")
    line = data.count(b"\n", 0, data.index(b"\0")) + 1
    raise _UnreadableError(f"expected UTF-8 text, got a NUL byte in line {line}. Delete the byte.")


def _other_encoding(data: bytes, start: int, path: Path, setting: str) -> str:
    """Describe text that is not UTF-8, whose first wrong byte is at `start`."""
    before, after = re.split(rb"[\r\n]", data[:start])[-1], re.split(rb"[\r\n]", data[start:])[0]
    sample = (before + after).decode("cp1252", "replace")[:60]
    line = data.count(b"\n", 0, start) + 1
    return (
        f"expected UTF-8 text, got another encoding in line {line}. In Windows-1252, which includes Latin-1,"
        f" the line reads {sample!r}. If this is right, {_conversion(path, setting, 'WINDOWS-1252')}"
        " Otherwise use the name of the file's encoding, such as MACINTOSH."
    )


def _conversion(path: Path, setting: str, encoding: str) -> str:
    """Return the end of a sentence that says how to convert a file to UTF-8 on each system."""
    new = path.with_name(f"{path.stem}-utf8{path.suffix}")
    # .NET resolves a relative path from the process's folder, and not from PowerShell's current folder.
    old_quoted, new_quoted = ("'" + str(each.absolute()).replace("'", "''") + "'" for each in (path, new))
    return (
        f"convert it with `iconv -f {encoding} -t UTF-8 {shlex.quote(str(path))} > {shlex.quote(str(new))}`"
        f" (PowerShell: `[IO.File]::WriteAllText({new_quoted}, [IO.File]::ReadAllText({old_quoted},"
        f" [Text.Encoding]::GetEncoding('{encoding}')))`), and set {setting} to the new file."
    )
