"""The classes file: the class names in the order of the model's outputs."""

import ast
import json
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.class_lookup import NUMBER_FIRST, normal, unquoted
from worker.model_allowlist import ModelError
from worker.text_file import Remark, read_text

SETTING = "INFERENCE_CLASSES_FILE"

MAX_LITERAL = 1_000_000
"""Maximum length of a text that is examined as a Python literal, in characters."""

MAX_REMARKS = 10
"""Maximum number of warnings about the names of one file."""

_NUMBER_LAST = re.compile(r"""(["']?)(\S.*?)\1\s*[,;:=|\t]\s*(["']?)([0-9]{1,7})\3""")
_BINARY = (
    " A model with one output has two classes: first the class of the score 0, then that of the score 1."
)
_INVISIBLE = {"\u00a0", "\u00ad", "\u200b", "\u2060", "\ufeff"}
_HEADER = re.compile(r"#.*|(class|label|name|clase|nombre|especie|species|etiqueta)(s|es|_?names?)?", re.I)


@dataclass(frozen=True)
class ClassesFile:
    """The class names, and remarks about how the file was read."""

    names: tuple[str, ...]
    remarks: tuple[Remark, ...]


def read_classes_file(path: Path) -> ClassesFile:
    """Read one class name per line, in the order of the model's outputs.

    If every line also has quotes, a separator at its end, or its number from 0, these are not part of the
    names.

    Raises:
        ModelError: the file or a line is empty, the file is no list of lines, a line repeats the class name
            of an earlier line, or the numbers of the lines are in another order.
    """
    text, remarks = read_text(path, SETTING)
    found = parse_classes(text, str(path))
    return ClassesFile(found.names, (*remarks, *found.remarks))


def read_classes(path: Path) -> tuple[str, ...]:
    """Read the class names as `read_classes_file` does, without the remarks.

    Raises:
        ModelError: as in `read_classes_file`.
    """
    return read_classes_file(path).names


def parse_classes(text: str, where: str) -> ClassesFile:
    """Return the class names in the text of a classes file.

    `where` is the file's name for error messages.

    Raises:
        ModelError: as in `read_classes_file`.
    """
    text = text.rstrip()
    _check_no_literal(text, where)
    lines = [line.strip() for line in text.split("\n")] if text else []
    _check_filled(lines, where)
    names, undone = _bare_names(lines, where)
    _check_unique(names, where)
    remarks = _limited([Remark("warning", f"{where}, {each}") for each in _suspicions(names)])
    if undone:
        line = next(n for n, (old, new) in enumerate(zip(lines, names, strict=True)) if old != new)
        example = f"line {line + 1}, {lines[line]!r}, is the class {names[line]!r}"
        text = f"{where}: the lines have {' and '.join(undone)}, which the names leave out; {example}"
        remarks.insert(0, Remark("note", text))
    return ClassesFile(tuple(names), tuple(remarks))


def check_class_count(outputs: int, classes: tuple[str, ...], path: Path) -> None:
    """Check that the classes file has a class for each output of the model.

    Raises:
        ModelError: the number of classes differs from the number of outputs.
    """
    if len(classes) != outputs:
        raise ModelError(
            f"{path}: expected {outputs} classes, one for each output of the model, got {len(classes)}."
            f" {_count_advice(outputs, classes)}"
        )


def _count_advice(outputs: int, classes: tuple[str, ...]) -> str:
    if len(classes) == 1 and re.search(r"[\s,;]", classes[0]):
        return f"Write each name on a line of its own; the only line is {classes[0][:60]!r}."
    if len(classes) == outputs + 1 and _HEADER.fullmatch(classes[0]):
        return f"Delete line 1 if {classes[0][:60]!r} is a header or a comment, and no class."
    return "Use the classes file of this model." + (_BINARY if (outputs, len(classes)) == (2, 1) else "")


def _check_no_literal(text: str, where: str) -> None:
    """Reject a JSON list or index, and a Python list."""
    if text.lstrip()[:1] not in ("[", "{"):
        return
    value: Any = None
    with suppress(ValueError, RecursionError):
        value = json.loads(text)
    if value is None and len(text) <= MAX_LITERAL:
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            value = ast.literal_eval(text.strip())
    if isinstance(value, list | dict | set):
        raise ModelError(
            f"{where}: expected one class name on each line, got a list or index in JSON or Python."
            f" Convert it with `classification-server classes {shlex.quote(where)} -o"
            f" {shlex.quote(Path(where).stem + '-lines.txt')}`."
        )


def _check_filled(lines: Sequence[str], where: str) -> None:
    if not lines:
        raise ModelError(f"{where}: expected class names, got an empty file. Write one name on each line.")
    if "" in lines:
        number = lines.index("") + 1
        raise ModelError(f"{where}, line {number}: expected a class name, got an empty line. Delete it.")


def _check_unique(names: Sequence[str], where: str) -> None:
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        first = seen.setdefault(normal(name), number)
        if first != number:
            other = "" if names[first - 1] == name else ", with its accents composed in another way"
            detail = f"the class {name!r} is already on line {first}{other}"
            raise ModelError(f"{where}, line {number}: {detail}. Rename one of the two classes.")


def _bare_names(lines: list[str], where: str) -> tuple[list[str], list[str]]:
    """Return the names without the signs around them, and descriptions of the signs."""
    _check_numbers(lines, where)
    names, undone = lines, list[str]()
    steps: tuple[tuple[str, Callable[[list[str]], list[str] | None]], ...] = (
        ("separators at their ends", _without_ends),
        ("quotes", _without_quotes),
        ("numbers from 0", _without_numbers),
        ("quotes", _without_quotes),
    )
    for sign, without in steps:
        found = without(names)
        # If names would be equal without the signs, the signs are part of the names.
        if found is not None and all(found) and len(set(found)) == len(names):
            names, undone = found, [*undone, sign]
    return names, undone


def _without_ends(lines: list[str]) -> list[str] | None:
    ends = {line[-1] for line in lines}
    return [line[:-1].rstrip() for line in lines] if len(lines) > 1 and ends in ({","}, {";"}) else None


def _without_quotes(lines: list[str]) -> list[str] | None:
    """Remove quotes that every line has, or that only the lines have that need them in a CSV file."""
    bare = [unquoted(line) for line in lines]
    if len(lines) < 2 or not any(bare) or not (all(bare) or _agree(lines, bare)):
        return None
    return [name or line for line, name in zip(lines, bare, strict=True)]


def _agree(lines: list[str], bare: list[str | None]) -> bool:
    return all(_is_csv(line, name) == bool(name) for line, name in zip(lines, bare, strict=True))


def _is_csv(line: str, name: str | None) -> bool:
    """Whether a CSV file would have quotes in this line."""
    return bool(re.search('[,;"]', name if name and line[0] == '"' else line))


def _numbered(lines: Sequence[str]) -> list[tuple[int, str]]:
    """Return each line's number and name, if every line has a number at its start or at its end."""
    for pattern, number, name in ((NUMBER_FIRST, 2, 3), (_NUMBER_LAST, 4, 2)):
        found = [pattern.fullmatch(line) for line in lines]
        pairs = [(int(each[number]), each[name]) for each in found if each]
        if len(pairs) == len(lines):
            return pairs
    return []


def _without_numbers(lines: list[str]) -> list[str] | None:
    pairs = _numbered(lines)
    is_ordered = [number for number, _ in pairs] == list(range(len(lines)))
    return [name for _, name in pairs] if len(lines) > 1 and is_ordered else None


def _check_numbers(lines: list[str], where: str) -> None:
    """Reject numbers from 0 whose order is not the order of the lines, and a header before numbered lines."""
    numbers = [number for number, _ in _numbered(lines)]
    if sorted(numbers) == list(range(len(lines))) != numbers:
        line, found = next((line, found) for line, found in enumerate(numbers) if line != found)
        raise ModelError(
            f"{where}, line {line + 1}: expected the number {line}, got {found}. Sort the lines by number."
        )
    if not numbers and len(lines) > 2 and _without_numbers(lines[1:]):
        raise ModelError(
            f"{where}, line 1: expected the number 0 and a class name, got {lines[0][:60]!r}. Delete the"
            " header."
        )


def _suspicions(names: list[str]) -> Iterator[str]:
    """Yield descriptions of names that are probably not as the author intended."""
    yield from _suspicions_of_all(names)
    similar: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        first = similar.setdefault(" ".join(name.split()).casefold(), number)
        for text in _suspicions_of_one(name, f"line {first}" if first != number else ""):
            yield f"line {number}: the name {name!r} {text}"


def _limited(remarks: list[Remark]) -> list[Remark]:
    more = [Remark("warning", f"and {len(remarks) - MAX_REMARKS} more lines")]
    return remarks if len(remarks) <= MAX_REMARKS else remarks[:MAX_REMARKS] + more


def _suspicions_of_all(names: list[str]) -> Iterator[str]:
    if len(names) < 2:
        return
    if [number for number, _ in _numbered(names)] == list(range(1, len(names) + 1)):
        yield "line 1: the lines have numbers from 1, which are part of the names. Delete the numbers."
    if names[0].startswith("#") and not names[1].startswith("#"):
        yield f"line 1: {names[0]!r} is read as a class name. Delete it if it is a comment."


def _suspicions_of_one(name: str, similar: str) -> Iterator[str]:
    """Yield descriptions of a name; `similar` is the place of an earlier name that is similar, or ''."""
    if invisible := sorted(filter(_is_invisible, set(name))):
        codes = ", ".join(f"U+{ord(each):04X}" for each in invisible)
        yield f"has invisible characters ({codes}). Delete them."
    if (meant := _repaired(name)) != name:
        yield f"was converted wrongly; did you mean {meant!r}?"
    if similar:
        yield f"differs from {similar} in capitals or spaces only."


def _is_invisible(character: str) -> bool:
    return character in _INVISIBLE or unicodedata.category(character) in ("Cc", "Zl", "Zp")


def _repaired(name: str) -> str:
    """Return the intended name if UTF-8 text was read as Latin-1 or Windows-1252, or the name unchanged."""
    for encoding in ("latin-1", "cp1252"):
        with suppress(UnicodeError):
            return name.encode(encoding).decode("utf-8")
    return name
