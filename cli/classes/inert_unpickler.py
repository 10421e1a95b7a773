"""An unpickler that imports, makes and calls nothing of the file's choosing.

Each name in the file must be in an allowlist, and becomes an inert `Stub` class. When the file calls a stub
or sets its state, the stub stores the values. The rest of the result is plain: text, numbers, lists, dicts.

Some hostile pickles still need endless memory or time, so `pickled_names` bounds the process that reads them.
"""

import copyreg
import io
import pickle
from typing import Any

from cli.classes.ordered_names import NamesError
from cli.classes.pickle_stubs import Stub, dtype_text, item_format, text_of

BINARIZERS = ("LabelBinarizer", "LabelEncoder", "MultiLabelBinarizer")

_NAMES = {
    **dict.fromkeys(
        ("sklearn.preprocessing._label", "sklearn.preprocessing.label", "sklearn.preprocessing"), BINARIZERS
    ),
    **dict.fromkeys(("numpy._core.multiarray", "numpy.core.multiarray"), ("_reconstruct", "scalar")),
    **dict.fromkeys(("numpy._core.numeric", "numpy.core.numeric"), ("_frombuffer",)),
    "numpy": ("ndarray", "dtype"),
    **dict.fromkeys(("joblib.numpy_pickle", "sklearn.externals.joblib.numpy_pickle"), ("NumpyArrayWrapper",)),
    **dict.fromkeys(("copyreg", "copy_reg"), ("_reconstructor",)),
    **dict.fromkeys(("builtins", "__builtin__"), ("object",)),
    "_codecs": ("encode",),
}
"""The allowlist by module. scikit-learn, numpy and joblib have moved their names between releases."""


class _Reconstructor(Stub):
    """`copyreg._reconstructor`, which makes objects in the first pickle protocols."""

    def __new__(cls, made: type[Stub], *unused: Any) -> Any:
        if not issubclass(made, Stub):
            raise TypeError("_reconstructor needs a class")
        return made()


class _Encode(Stub):
    """`_codecs.encode`, which makes bytes in the first pickle protocols."""

    def __new__(cls, text: str, codec: Any) -> Any:
        if text_of(codec) not in ("latin1", "latin-1"):
            raise ValueError("only Latin-1 makes bytes of text")
        return str.encode(text, "latin-1")


class InertUnpickler(pickle.Unpickler):
    """Reads one pickle; `inner` is set for a pickle inside a file of joblib."""

    def __init__(self, file: io.BytesIO, *, inner: bool = False) -> None:
        super().__init__(file, encoding="bytes")  # the text of Python 2 may be UTF-8 or Latin-1
        names = {name for names in _NAMES.values() for name in names}
        self._stubs: dict[str, type[Stub]] = {name: type(name, (Stub,), {}) for name in names}
        self._stubs |= {"_reconstructor": _Reconstructor, "encode": _Encode}
        if not inner:
            self._stubs["NumpyArrayWrapper"] = _array_wrapper(file)

    def find_class(self, module: str, name: str, /) -> type[Stub]:
        """The stub for a name of the allowlist."""
        if name not in _NAMES.get(module, ()):
            raise _refusal(f"the name {module[:100]}.{name[:100]}")
        return self._stubs[name]

    def persistent_load(self, pid: Any) -> None:
        """Refuse a reference to an object outside the file."""
        raise _refusal("a persistent id")


def unpickle(data: bytes) -> Any:
    """The value in a pickle or in a file of joblib, with a stub for each object.

    Raises:
        NamesError: the pickle needs something outside the allowlist.
        Exception: the pickle is damaged; its errors have no common class.
    """
    copyreg.clear_extension_cache()  # what is in the cache would not pass through `find_class`
    return InertUnpickler(io.BytesIO(data)).load()


def _array_wrapper(file: io.BytesIO) -> type[Stub]:
    """Joblib writes an array behind its description in the file: as bytes, or as a pickle of objects."""

    class NumpyArrayWrapper(Stub):
        def __setstate__(self, state: Any) -> None:
            super().__setstate__(state)
            dtype = self.state["dtype"]
            if dtype_text(dtype).startswith("O"):
                self.raw = InertUnpickler(file, inner=True).load()
                return
            if self.state.get("numpy_array_alignment_bytes") is not None:
                file.read(file.read(1)[0])
            (count,) = self.state["shape"]
            self.raw = file.read(count * item_format(dtype)[0])

    return NumpyArrayWrapper


def _refusal(found: str) -> NamesError:
    return NamesError(
        f"expected a label binarizer or a list of names, got a pickle with {found}, which no label binarizer"
        " needs. The file is refused, and nothing in it was run."
    )
