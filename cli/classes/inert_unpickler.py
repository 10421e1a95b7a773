"""An unpickler that neither imports nor runs the classes and functions that the pickle names.

Each class or function that the pickle names must be in an allowlist. The unpickler replaces each of them with
a stub: a class that does nothing but store values. A stub stores the arguments with which the pickle calls
it, and the state that the pickle sets. Apart from stubs, the result contains only plain values, such as text,
numbers, lists and dicts.

A hostile pickle can still need unlimited memory or time. For this reason, `pickled_names` runs the unpickler
in a process with limited memory and CPU time.
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
"""The allowlist: for each module, the classes and functions that a pickle may name.

Some names are listed under several modules. The reason is that some releases of scikit-learn, numpy and
joblib moved them to other modules.
"""


class _Reconstructor(Stub):
    """Replaces `copyreg._reconstructor`, which creates objects in old pickle protocols."""

    def __new__(cls, made: type[Stub], *unused: Any) -> Any:
        if not issubclass(made, Stub):
            raise TypeError("_reconstructor: expected a class, got another object")
        return made()


class _Encode(Stub):
    """Replaces `_codecs.encode`, which creates bytes in old pickle protocols."""

    def __new__(cls, text: str, codec: Any) -> Any:
        if text_of(codec) not in ("latin1", "latin-1"):
            raise ValueError("expected bytes encoded as Latin-1, got another encoding")
        return str.encode(text, "latin-1")


class InertUnpickler(pickle.Unpickler):
    """An unpickler that reads one pickle.

    If `inner` is true, the pickle is inside a joblib file.
    """

    def __init__(self, file: io.BytesIO, *, inner: bool = False) -> None:
        super().__init__(file, encoding="bytes")  # Text from Python 2 may be UTF-8 or Latin-1.
        names = {name for names in _NAMES.values() for name in names}
        self._stubs: dict[str, type[Stub]] = {name: type(name, (Stub,), {}) for name in names}
        self._stubs |= {"_reconstructor": _Reconstructor, "encode": _Encode}
        if not inner:
            self._stubs["NumpyArrayWrapper"] = _array_wrapper(file)

    def find_class(self, module: str, name: str, /) -> type[Stub]:
        """Return the stub class that replaces a class or function; refuse a name outside the allowlist."""
        if name not in _NAMES.get(module, ()):
            raise _refusal(f"the name {module[:100]}.{name[:100]}")
        return self._stubs[name]

    def persistent_load(self, pid: Any) -> None:
        """Refuse a reference to an object outside the file."""
        raise _refusal("a persistent id")


def unpickle(data: bytes) -> Any:
    """Return the value in a pickle or in a joblib file.

    The value contains a stub in place of each object. A stub only stores values.

    Raises:
        NamesError: the pickle names a class or function outside the allowlist, or an object outside the file.
        Exception: the pickle is damaged. A damaged pickle can raise errors of many classes.
    """
    copyreg.clear_extension_cache()  # Objects in the extension cache would bypass `find_class`.
    return InertUnpickler(io.BytesIO(data)).load()


def _array_wrapper(file: io.BytesIO) -> type[Stub]:
    """Return a stub class that replaces an array in a joblib file, and that reads the array's data."""

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
