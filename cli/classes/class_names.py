"""Class names, in the order of the model's outputs, from what a training left behind."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.classes.inert import BINARIZERS, Made, PickleError, items_of
from cli.classes.pickles import MAX_BYTES, read


class NamesError(ValueError):
    """There are no class names to be had from it; the message says why, and what to do."""


@dataclass(frozen=True)
class Found:
    """The names, what they were found in, and what is to be known of them."""

    names: list[str]
    source: str
    notes: tuple[str, ...] = ()


def find(path: Path) -> Found:
    """Read the names from a folder of images, a JSON index, or a pickled label binarizer.

    Raises:
        NamesError: it is none of these, or refused.
    """
    try:
        if path.is_dir():
            return _checked(_from_folders(path))
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # one too many is refused; a device may have no end
    except OSError as error:
        raise NamesError(f"{path} can't be read: {error.strerror}") from None
    try:
        if len(data) > MAX_BYTES:
            raise NamesError(f"it has more than {MAX_BYTES} bytes, more than any list of class names")
        looks_like_json = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")
        return _checked(_from_json(data) if looks_like_json else from_pickle(data))
    except (PickleError, NamesError) as error:
        hint = "; a text with a name a line is a classes file as it stands" if path.suffix == ".txt" else ""
        raise NamesError(f"{path}: {error}{hint}") from None


def _from_folders(path: Path) -> Found:
    folders = sorted(each.name for each in path.iterdir() if each.is_dir())
    hidden = [name for name in folders if name.startswith(".")]
    # Sorted by code point, as both of Keras' loaders do.
    source = "folders, in the order of Keras' image_dataset_from_directory"
    notes = tuple(
        f"{name} is left out, as image_dataset_from_directory does; the older flow_from_directory counts it"
        " as a class: if the model has an output more than there are names, that is it"
        for name in hidden
    )
    if len(folders) == len(hidden):
        raise NamesError(f"{path} has no folders; a folder for each class is expected")
    return Found([name for name in folders if name not in hidden], source, notes)


def _from_json(data: bytes) -> Found:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NamesError(f"it looks like JSON, but is not: {error}") from None
    return Found(names(value), "a JSON index")


def from_pickle(data: bytes) -> Found:
    """Read the names from a pickle, of which nothing is run.

    Raises:
        PickleError: it is refused or damaged.
        NamesError: it holds no names.
    """
    if data[:1] == b"\x78" or data[:2] in (b"\x1f\x8b", b"BZ") or data[:6] == b"\xfd7zXZ\0":
        raise PickleError(
            "it is compressed: unpack it first (gunzip), or have joblib.dump write it without `compress`"
        )
    value = read(data)
    if not isinstance(value, Made) or value.name not in BINARIZERS:
        items = items_of(value) if isinstance(value, Made | list | tuple) else value
        return Found(names(items), "a pickled list of names")
    if not isinstance(value.state, dict) or value.state.get("classes_") is None:
        raise PickleError(f"its {value.name} has no classes: it was saved before `fit`")
    notes: tuple[str, ...] = ()
    items = items_of(value.state["classes_"])
    if value.name == "LabelBinarizer" and len(items) == 2:
        notes = ("a LabelBinarizer of two classes gives one column; a model with one output can't be served",)
    return Found(names(items), f"a {value.name} of scikit-learn", notes)


def names(value: Any) -> list[str]:
    """Names from a list of them, `{name: index}` as Keras' class_indices, or `{index: name}`.

    A value of `{index: [id, name]}`, as in ImageNet's class index, gives the name.

    Raises:
        NamesError: it is none of these, or its numbers are not 0, 1, 2 …
    """
    if isinstance(value, list | tuple):
        return [_name(each) for each in value]
    if not isinstance(value, dict) or not value:
        raise NamesError(
            'it holds no class names; a list ["a", "b"], {"a": 0, "b": 1} or {"0": "a", "1": "b"} is read'
        )
    if all(_is_index(each) for each in value.values()):
        by_index = [(int(index), name) for name, index in value.items()]
    elif all(_is_index(each) for each in value):
        by_index = [(int(index), name) for index, name in value.items()]
    else:
        raise NamesError("neither the keys nor the values of its dict are the numbers of the model's outputs")
    by_index.sort(key=lambda pair: pair[0])
    for wanted, (index, _) in enumerate(by_index):
        if index != wanted:
            what = f"{index} comes twice" if index < wanted else f"{wanted} is missing"
            raise NamesError(f"its numbers are not 0 to {len(by_index) - 1}: {what}")
    return _of_pairs([name for _, name in by_index])


def _of_pairs(values: list[Any]) -> list[str]:
    """The names of `[id, name]`; where two have the same, as ImageNet's two cranes, the id stands behind."""
    if not all(isinstance(each, list | tuple) and len(each) == 2 for each in values):
        return [_name(each) for each in values]
    counts = Counter(name for _, name in values if isinstance(name, str))
    return [_name(name) + (f" ({_name(key)})" if counts[name] > 1 else "") for key, name in values]


def _is_index(value: Any) -> bool:
    if isinstance(value, str):
        return value.isdecimal() and len(value) < 10
    return isinstance(value, int) and not isinstance(value, bool)


def _name(value: Any) -> str:
    if isinstance(value, bytes | bytearray):  # Python 2's text
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            return bytes(value).decode("latin-1")
    if isinstance(value, str | int | float):
        return str(value)
    raise NamesError(f"a {type(value).__name__} stands where a class name should be")


def _checked(found: Found) -> Found:
    """See that the service will read as many names from the file as there are.

    Raises:
        NamesError: a name is empty, comes twice, or has a line break in it.
    """
    from worker.classes_file import parse_classes
    from worker.model_allowlist import ModelError

    for name in found.names:
        if len(name.splitlines()) != 1 or not name.strip():
            raise NamesError(f"the name {name!r} is empty or has a line break; a classes file has one a line")
    try:
        return Found([*parse_classes("\n".join(found.names), "the list")], found.source, found.notes)
    except ModelError as error:
        raise NamesError(str(error)) from None
