"""Reads a pickle without unpickling it: nothing that the file names is imported, made or called.

A pickle is a program for a small stack machine, and Python's own runs it with real objects: `REDUCE` calls
whatever was imported before. Here `pickletools` only takes the instructions apart, and a stack of inert
values follows them. What the file would import must be on a list, and stays a name; what it would call is
noted (`Made`). Instructions that the pickles of label binarizers do not need are refused.
"""

import codecs
import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cli.classes.inert import BINARIZERS, Made, Named, PickleError, dtype_parts, dtype_text, text_of

MAX_BYTES = 64 * 2**20
"""Ten thousand names take less than one; the reader holds a few times the file's size."""

_MODULES = {
    **dict.fromkeys(
        ("sklearn.preprocessing._label", "sklearn.preprocessing.label", "sklearn.preprocessing"), BINARIZERS
    ),
    **dict.fromkeys(("numpy._core.multiarray", "numpy.core.multiarray"), ("_reconstruct", "scalar")),
    **dict.fromkeys(("numpy._core.numeric", "numpy.core.numeric"), ("_frombuffer",)),
    "numpy": ("ndarray", "dtype"),
    **dict.fromkeys(("joblib.numpy_pickle", "sklearn.externals.joblib.numpy_pickle"), ("NumpyArrayWrapper",)),
    "copyreg": ("_reconstructor",),
    "copy_reg": ("_reconstructor",),
    "builtins": ("object",),
    "__builtin__": ("object",),
    "_codecs": ("encode",),
}
"""What may be named, by module; scikit-learn, numpy and joblib have moved theirs."""


def read(data: bytes) -> Any:
    """The value in a pickle, or in joblib's form of it: plain values, and `Made` for what is not plain.

    Raises:
        PickleError: it is damaged, or holds more than a label binarizer needs.
    """
    if len(data) > MAX_BYTES:
        raise PickleError(f"it has {len(data)} bytes, far more than a label binarizer needs")
    return _Reader(io.BytesIO(data)).read()


@dataclass
class _Reader:
    """The stack machine; `inner` is set while a pickle within joblib's file is read."""

    file: io.BytesIO
    inner: bool = False
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def read(self) -> Any:
        try:
            while (step := self._next()) != ("STOP", None):
                self._step(*step)
            return self.stack.pop()
        except PickleError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError) as error:
            raise PickleError(f"it is not a pickle, or a damaged one: {str(error)[:200]}") from None

    def _next(self) -> tuple[str, Any]:
        """The next instruction and its argument."""
        code = self.file.read(1).decode("latin-1")
        if code not in _CODES:
            what = f"byte {self.file.tell() - 1} is no instruction" if code else "it is cut off"
            raise PickleError(f"it is not a pickle, or a damaged one: {what}")
        instruction = _CODES[code]
        if instruction.name == "STRING":  # pickletools' own reader of it takes ASCII alone
            escaped = pickletools.read_stringnl(self.file, decode=False)
            return "STRING", codecs.escape_decode(escaped)[0].decode("latin-1")
        return instruction.name, instruction.arg.reader(self.file) if instruction.arg else None

    def _step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _OLD_STRINGS:  # Python 2's, which are bytes
            self.stack.append(argument.encode("latin-1"))
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise PickleError(
                f"before byte {self.file.tell()} it holds the instruction {name}, which no label binarizer"
                " needs; it is refused, and nothing in it was run"
            )

    def items(self) -> list[Any]:
        """What stands above the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def last(self, count: int) -> tuple[Any, ...]:
        if count > len(self.stack):
            raise PickleError("it is a damaged pickle: its stack is empty")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise PickleError("it adds items to what is not a list; it is refused")
        self.stack[-1].extend(items)

    def put(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise PickleError("it sets items of what is not a dict; it is refused")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Nested tuples can take for ever to hash.
            if not isinstance(key, str | bytes | int):
                raise PickleError("a key of its dicts is neither a string nor a number; it is refused")
            target[text_of(key)] = value

    def name(self, module: Any, name: Any) -> None:
        module, name = text_of(module), text_of(name)
        if name not in _MODULES.get(module, ()):
            raise PickleError(
                f"it names {str(module)[:100]}.{str(name)[:100]}, which no label binarizer needs; it is"
                " refused, and nothing in it was run"
            )
        self.stack.append(Named(name))

    def make(self) -> None:
        what, arguments = self.last(2)
        if not isinstance(what, Named) or not isinstance(arguments, tuple):
            raise PickleError("it calls what is not a function; it is refused")
        self.stack.append(_made(what.name, arguments))

    def build(self) -> None:
        (state,) = self.last(1)
        target = self.stack[-1]
        if not isinstance(target, Made):
            raise PickleError("it sets the state of what has none; it is refused")
        target.state = state
        if target.name == "NumpyArrayWrapper":
            self._read_raw(target)

    def _read_raw(self, wrapper: Made) -> None:
        """Joblib writes an array right behind its description: as bytes, or as a pickle of objects."""
        if self.inner:
            raise PickleError("it holds a file of joblib's within another; it is refused")
        if dtype_text(wrapper.state["dtype"]).startswith("O"):
            wrapper.raw = _Reader(self.file, inner=True).read()
            return
        if wrapper.state.get("numpy_array_alignment_bytes") is not None:
            self.file.read(self.file.read(1)[0])
        (count,), (_, size, _) = wrapper.state["shape"], dtype_parts(wrapper.state["dtype"])
        wrapper.raw = self.file.read(count * size)


def _made(name: str, arguments: tuple[Any, ...]) -> Any:
    if name == "_reconstructor":  # of an object of this class, without arguments
        return Made(arguments[0].name, ())
    if name == "encode":  # how old protocols write bytes
        text, codec = arguments
        if text_of(codec) not in ("latin1", "latin-1"):
            raise PickleError("it encodes text as no label binarizer does; it is refused")
        return text.encode("latin-1")
    return Made(name, arguments)


_CODES = {each.code: each for each in pickletools.opcodes}
_OLD_STRINGS = ("STRING", "BINSTRING", "SHORT_BINSTRING")
_VALUES = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_STEPS: dict[str, Callable[[_Reader, Any], None]] = {
    "NONE": lambda reader, _: reader.stack.append(None),
    "NEWTRUE": lambda reader, _: reader.stack.append(True),
    "NEWFALSE": lambda reader, _: reader.stack.append(False),
    "EMPTY_LIST": lambda reader, _: reader.stack.append([]),
    "EMPTY_DICT": lambda reader, _: reader.stack.append({}),
    "EMPTY_TUPLE": lambda reader, _: reader.stack.append(()),
    "MARK": lambda reader, _: reader.marks.append(len(reader.stack)),
    "LIST": lambda reader, _: reader.stack.append(reader.items()),
    "TUPLE": lambda reader, _: reader.stack.append(tuple(reader.items())),
    "TUPLE1": lambda reader, _: reader.stack.append(reader.last(1)),
    "TUPLE2": lambda reader, _: reader.stack.append(reader.last(2)),
    "TUPLE3": lambda reader, _: reader.stack.append(reader.last(3)),
    "APPEND": lambda reader, _: reader.extend([*reader.last(1)]),
    "APPENDS": lambda reader, _: reader.extend(reader.items()),
    "SETITEM": lambda reader, _: reader.put([*reader.last(2)]),
    "SETITEMS": lambda reader, _: reader.put(reader.items()),
    "PUT": lambda reader, place: reader.memo.update({place: reader.stack[-1]}),
    "GET": lambda reader, place: reader.stack.append(reader.memo[place]),
    "MEMOIZE": lambda reader, _: reader.memo.update({len(reader.memo): reader.stack[-1]}),
    "GLOBAL": lambda reader, names: reader.name(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda reader, _: reader.name(*reader.last(2)),
    "REDUCE": lambda reader, _: reader.make(),
    "NEWOBJ": lambda reader, _: reader.make(),
    "BUILD": lambda reader, _: reader.build(),
}


def _dict(reader: _Reader, _: Any) -> None:
    items = reader.items()
    reader.stack.append({})
    reader.put(items)


_STEPS["DICT"] = _dict
_STEPS |= {"BINPUT": _STEPS["PUT"], "LONG_BINPUT": _STEPS["PUT"]}
_STEPS |= {"BINGET": _STEPS["GET"], "LONG_BINGET": _STEPS["GET"]}
