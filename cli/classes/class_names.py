"""Reads class names from files that were saved when a model was trained.

The names are returned in the order of the model's outputs.
"""

import ast
import json
import re
from pathlib import Path

from cli.classes.ordered_names import ClassNames, NamesError, ordered_names
from cli.classes.pickled_names import MAX_BYTES, TOO_LONG, read_pickle

MAX_LITERAL = 1_000_000
"""Maximum length of a list or dict in Python's notation, in characters."""

_NO_COMMA = re.compile(r"""['"]\s+['"]""")

HIDDEN = (
    "the hidden folder {} is not counted as a class. Keras' image_dataset_from_directory ignores hidden"
    " folders; Keras' older flow_from_directory counts them as classes. If the model has more outputs than"
    " there are names, add the folder's name to the list."
)


def read_class_names(path: Path) -> ClassNames:
    """Read the names from a folder of images, a JSON index, or a pickled label binarizer.

    Raises:
        NamesError: the file has another format, or the service would not accept the names in the file.
    """
    try:
        return _checked(_from_folders(path) if path.is_dir() else _from_file(path))
    except OSError as error:
        raise NamesError(f"{path} can't be read: {error.strerror}") from None
    except NamesError as error:
        hint = (
            ". A text file with one name per line is already a classes file" if path.suffix == ".txt" else ""
        )
        raise NamesError(f"{path}: {error}{hint}") from None


def _from_folders(path: Path) -> ClassNames:
    # Keras sorts folders by code point too.
    folders = sorted(each.name for each in path.iterdir() if each.is_dir())
    names = [name for name in folders if not name.startswith(".")]
    if not names:
        raise NamesError("expected a folder for each class, got no folders")
    notes = tuple(HIDDEN.format(name) for name in folders if name.startswith("."))
    return ClassNames(names, "folders, in the order of Keras' image_dataset_from_directory", notes)


def _from_file(path: Path) -> ClassNames:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)  # The size is limited, because a device file may have no end.
    if len(data) > MAX_BYTES:
        raise NamesError(TOO_LONG)
    if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] not in (b"{", b"["):
        return read_pickle(data)
    try:
        return ClassNames(ordered_names(json.loads(data)), "a JSON index")
    except NamesError:
        raise
    except (ValueError, RecursionError) as error:
        return _from_literal(data, error)


def _from_literal(data: bytes, json_error: Exception) -> ClassNames:
    """Read the names from a list or dict as Python prints it, which has other quotes than JSON.

    Raises:
        NamesError: the text is no such list or dict, or is too long.
    """
    detail = f"expected JSON because the file starts with a bracket, got invalid JSON: {json_error}"
    try:
        text = data.decode("utf-8-sig").strip()
        if len(text) > MAX_LITERAL:
            raise NamesError(detail)
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise NamesError(detail) from None
    if _NO_COMMA.search(text):  # Python joins such strings; numpy prints arrays in this form.
        raise NamesError("expected commas between the names, got spaces. Print a list: names.tolist()")
    return ClassNames(ordered_names(value), "a Python list or dict")


def _checked(found: ClassNames) -> ClassNames:
    """Check that the service will read the same number of names from the classes file.

    Raises:
        NamesError: a name is empty, repeated, or has a line break.
    """
    from worker.classes_file import parse_classes
    from worker.model_allowlist import ModelError

    for name in found.names:
        if len(name.splitlines()) != 1 or not name.strip():
            raise NamesError(f"expected a name on one line, got {name[:100]!r}. Rename the class.")
    try:
        read = parse_classes("\n".join(found.names), "the list")
    except ModelError as error:
        raise NamesError(str(error)) from None
    return ClassNames([*read.names], found.source, (*found.notes, *(each.text for each in read.remarks)))
