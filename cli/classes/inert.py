"""The values that a pickle is read into: plain ones, names, and notes of what it would make."""

from dataclasses import dataclass
from typing import Any, Literal

BINARIZERS = ("LabelBinarizer", "LabelEncoder", "MultiLabelBinarizer")


class PickleError(ValueError):
    """The file is refused, or damaged; the message says why."""


@dataclass(frozen=True)
class Named:
    """What the file would import: its name, of the list."""

    name: str


@dataclass
class Made:
    """What the file would make: of which class or by which function, from what, with which state.

    `raw` is what joblib wrote behind an array's description: its bytes, or the array in them.
    """

    name: str
    arguments: Any
    state: Any = None
    raw: Any = None


def text_of(value: Any) -> Any:
    """Names in pickles of Python 2 are bytes."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def items_of(value: Any) -> list[Any]:
    """The items of a list, a tuple, or an array of one dimension that the file describes.

    numpy is not asked: of an array's bytes, text and whole numbers are decoded here.

    Raises:
        PickleError: it is none of these, or what it says of itself does not agree.
    """
    try:
        return _items(value)
    except PickleError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise PickleError(f"an array in it is damaged: {str(error)[:200]}") from None


def _items(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [_scalar(each) for each in value]
    if not isinstance(value, Made):
        raise PickleError(f"it holds a {type(value).__name__} where names should be")
    if value.name == "NumpyArrayWrapper" and isinstance(value.raw, Made):
        return _items(value.raw)  # an array of objects; the reader lets no wrapper stand in it
    shape, dtype, data = _described(value)
    if len(shape) != 1:
        raise PickleError(f"an array in it has {len(shape)} dimensions; names have one")
    items = [_scalar(each) for each in data] if isinstance(data, list) else _decoded(data, dtype)
    if len(items) != shape[0]:
        raise PickleError(f"an array in it says that it has {shape[0]} items, and has {len(items)}")
    return items


def _described(array: Made) -> tuple[tuple[int, ...], Any, Any]:
    """Shape, dtype and data, from each of the ways in which numpy and joblib have written arrays."""
    if array.name == "_reconstruct":
        _, shape, dtype, _, data = array.state
    elif array.name == "_frombuffer":
        data, dtype, shape, _ = array.arguments
    elif array.name == "NumpyArrayWrapper":
        shape, dtype, data = array.state["shape"], array.state["dtype"], array.raw
    else:
        raise PickleError(f"it holds a {array.name} where names should be")
    return shape, dtype, data


def _scalar(value: Any) -> Any:
    if isinstance(value, Made) and value.name == "scalar":
        dtype, data = value.arguments
        return _decoded(data, dtype)[0]
    return value


def _decoded(data: Any, dtype: Any) -> list[Any]:
    """The items of an array's bytes. Not by numpy, which raises a SystemError on code points out of range."""
    kind, size, order = dtype_parts(dtype)
    if not isinstance(data, bytes | bytearray) or len(data) % size:
        raise PickleError("an array in it is not made of whole items")
    items = (bytes(data[at : at + size]) for at in range(0, len(data), size))
    if kind == "U":
        return [each.decode(f"utf-32-{order[0]}e").rstrip("\0") for each in items]
    if kind == "S":
        return [each.rstrip(b"\0") for each in items]
    return [int.from_bytes(each, order, signed=kind == "i") for each in items]


def dtype_text(dtype: Any) -> str:
    """A numpy dtype's short name in its pickle: U12, i8, O8."""
    if not isinstance(dtype, Made) or dtype.name != "dtype":
        raise PickleError("an array in it has no dtype")
    return str(text_of(dtype.arguments[0]))


def dtype_parts(dtype: Any) -> tuple[str, int, Literal["little", "big"]]:
    """A dtype's kind (U or S for text, i or u for whole numbers), bytes of one item, and byte order.

    Raises:
        PickleError: it is of another kind; objects, records and times are.
    """
    text = dtype_text(dtype)
    kind, digits = text[:1], text[1:]
    if kind not in ("U", "S", "i", "u") or not digits.isdecimal() or not 1 <= len(digits) <= 6:
        raise PickleError(f"an array in it is of the type {text[:20]!r}; names and whole numbers are read")
    order: Literal["little", "big"] = "big" if dtype.state and text_of(dtype.state[1]) == ">" else "little"
    return kind, max(int(digits), 1) * (4 if kind == "U" else 1), order
