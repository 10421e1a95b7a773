"""Puts class names from a list or an index in the order of the model's outputs."""

from collections import Counter
from dataclasses import dataclass
from typing import Any


class NamesError(ValueError):
    """A file or folder contains no usable class names.

    The error's message contains the reason and the remedy.
    """


@dataclass(frozen=True)
class ClassNames:
    """Class names in the order of the model's outputs.

    The object also contains a description of the names' source, and notes for the user.
    """

    names: list[str]
    source: str
    notes: tuple[str, ...] = ()


def ordered_names(value: Any) -> list[str]:
    """Return names from a list, from `{name: index}` (Keras' class_indices), or from `{index: name}`.

    The value can also be `{index: [id, name]}`, as in ImageNet's class index. Then the id is ignored.

    Raises:
        NamesError: the value has another format, or the indexes are not 0, 1, 2 …
    """
    if isinstance(value, list | tuple):
        return [name_of(each) for each in value]
    pairs = sorted(_indexed(value), key=lambda pair: pair[0])
    for expected, (index, _) in enumerate(pairs):
        if index != expected:
            found = f"{index} twice" if index < expected else f"no {expected}"
            raise NamesError(f"expected each index from 0 to {len(pairs) - 1} once, got {found}")
    return _without_ids([name for _, name in pairs])


def name_of(value: Any) -> str:
    """Return a class name as text. A pickle from Python 2 may contain the name as bytes.

    Raises:
        NamesError: the value is neither text nor a number.
    """
    if isinstance(value, bytes | bytearray):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.decode("latin-1")
    if isinstance(value, str | int | float):
        return str(value)
    raise NamesError(f"expected a class name, got a {type(value).__name__}")


def _indexed(index: Any) -> list[tuple[int, Any]]:
    """Return pairs of output index and class name."""
    if not isinstance(index, dict) or not index:
        found = "an empty dict" if index == {} else f"a {type(index).__name__}"
        raise NamesError(
            f'expected class names as ["a", "b"], {{"a": 0, "b": 1}} or {{"0": "a"}}, got {found}'
        )
    if all(map(_is_index, index.values())):
        return [(int(number), name) for name, number in index.items()]
    if all(map(_is_index, index)):
        return [(int(number), name) for number, name in index.items()]
    raise NamesError("expected the model's output indexes as the keys or values of the dict, got neither")


def _is_index(value: Any) -> bool:
    if isinstance(value, str):
        return value.isdecimal() and len(value) < 10
    return isinstance(value, int) and not isinstance(value, bool)


def _without_ids(values: list[Any]) -> list[str]:
    """Return the names of `[id, name]` pairs, and append the id to each repeated name.

    For example, ImageNet has two classes with the name "crane".
    """
    if not all(isinstance(each, list | tuple) and len(each) == 2 for each in values):
        return list(map(name_of, values))
    names = [name_of(name) for _, name in values]
    counts = Counter(names)
    ids = (f" ({name_of(key)})" for key, _ in values)
    return [name + identifier * (counts[name] > 1) for name, identifier in zip(names, ids, strict=True)]
