"""Classes that replace the objects of a pickle, and functions that read the pickle's numpy arrays.

These classes are stubs: they only store values.
"""

from collections.abc import Callable
from typing import Any, Literal

from cli.classes.ordered_names import NamesError, name_of


class Stub:
    """Replaces an object of the pickle; stores the object's class name, arguments and state.

    In a joblib file, an array's data follow the array's description. For such an array, `raw` contains the
    data as bytes or as a stub.
    """

    arguments: tuple[Any, ...]
    state: Any = None
    raw: Any = None

    def __new__(cls, *arguments: Any) -> Any:
        """Store the arguments with which the pickle creates the object."""
        stub = super().__new__(cls)
        stub.arguments = arguments
        return stub

    def __setstate__(self, state: Any) -> None:
        """Store the object's state, with text as keys.

        A pickle from Python 2 may contain the keys as bytes.
        """
        self.state = {text_of(k): v for k, v in state.items()} if isinstance(state, dict) else state

    @property
    def name(self) -> str:
        """The name of the class or function that this object replaces."""
        return type(self).__name__


def text_of(value: Any) -> Any:
    """Return bytes as text, and other values unchanged.

    This is necessary, because Python 2 pickles text as bytes.
    """
    return value.decode("latin-1") if isinstance(value, bytes) else value


def plain(value: Any) -> Any:
    """Return a pickled value as plain Python values.

    The keys of a dict become text, numpy numbers become Python numbers, and an array becomes a list.

    Raises:
        NamesError: an array is not a one-dimensional array of names, or its size contradicts its shape.
        Exception: the array is damaged.
    """
    if isinstance(value, dict):
        return {name_of(key): each for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_scalar(each) for each in value]
    return _array(value) if isinstance(value, Stub) else value


def _array(array: Stub) -> list[Any]:
    """Return the items of a pickled array. numpy and joblib pickle arrays in several formats."""
    if array.name == "_reconstruct":
        _, shape, dtype, _, data = array.state
    elif array.name == "_frombuffer":
        data, dtype, shape, _ = array.arguments
    elif array.name == "NumpyArrayWrapper":
        shape, dtype, data = array.state["shape"], array.state["dtype"], array.raw
    else:
        raise NamesError(f"expected class names, got a {array.name}")
    if isinstance(data, Stub):
        return _array(data)
    if len(shape) != 1:
        raise NamesError(f"expected an array of one dimension, got {len(shape)} dimensions")
    items = plain(data) if isinstance(data, list) else _decode(data, dtype)
    if len(items) != shape[0]:
        raise NamesError(
            f"expected an array of {shape[0]} items because of its shape, got {len(items)} items"
        )
    return list(items)


def _scalar(value: Any) -> Any:
    if isinstance(value, Stub) and value.name == "scalar":
        dtype, data = value.arguments
        return _decode(data, dtype)[0]
    return value


def _decode(data: Any, dtype: Stub) -> list[Any]:
    """Decode an array's bytes without numpy.

    numpy is not used, because it raises SystemError if a code point is invalid.
    """
    size, decode = item_format(dtype)
    if len(data) % size:
        raise NamesError(f"expected a multiple of {size} bytes as the array's data, got {len(data)} bytes")
    return [decode(bytes(data[at : at + size])) for at in range(0, len(data), size)]


def dtype_text(dtype: Stub) -> str:
    """Return the short name of a pickled numpy dtype, such as U12, i8 or O8."""
    return str(text_of(dtype.arguments[0]))


def item_format(dtype: Stub) -> tuple[int, Callable[[bytes], Any]]:
    """Return the number of bytes of one item of a dtype, and a function that decodes the item.

    Raises:
        NamesError: the dtype is neither text nor whole numbers. For example, it is objects, records or times.
    """
    text = dtype_text(dtype)
    kind, digits = text[:1], text[1:]
    if kind not in ("U", "S", "i", "u") or not digits.isdecimal() or len(digits) > 6:
        raise NamesError(f"expected an array of text or whole numbers, got the dtype {text[:20]!r}")
    order: Literal["little", "big"] = "big" if dtype.state and text_of(dtype.state[1]) == ">" else "little"
    size = max(int(digits), 1)
    if kind == "U":
        return 4 * size, lambda item: item.decode(f"utf-32-{order[0]}e").rstrip("\0")
    if kind == "S":
        return size, lambda item: item.rstrip(b"\0")
    return size, lambda item: int.from_bytes(item, order, signed=kind == "i")
