"""Hostile and damaged pickles: refused, and nothing in them is run."""

import contextlib
import copyreg
import os
import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import LabelEncoder

from cli.classes.class_names import NamesError, find, from_pickle, names
from cli.classes.inert import PickleError, items_of
from cli.classes.pickles import MAX_BYTES, read

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Calls:
    """Pickles into a call of a function with these arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


class HasState:
    """Pickles into an object whose `__setstate__` is handed a string."""

    def __init__(self, state: str = "") -> None:
        self.state = state

    def __setstate__(self, state: str) -> None:
        os.system(state)

    def __reduce__(self) -> tuple[Any, ...]:
        return HasState, (), self.state


def encoder_with(names: list[Any]) -> LabelEncoder:
    """A fitted LabelEncoder in whose array of names anything may stand."""
    encoder = LabelEncoder().fit(["a"])
    encoder.classes_ = np.array([None] * len(names), object)
    encoder.classes_[:] = names
    return encoder


def touch(path: Path) -> str:
    return f"touch {path}"


def stack_global(command: str) -> bytes:
    """`os.system` is put together on the stack, where a search for its name in the file may miss it."""
    text = command.encode()
    return b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x8c" + bytes([len(text)]) + text + b"\x85R."


HOSTILE = {
    **{f"os.system, protocol {n}": lambda c, n=n: pickle.dumps(Calls(os.system, c), n) for n in PROTOCOLS},
    "eval": lambda c: pickle.dumps(Calls(eval, f"__import__('os').system({c!r})")),
    "exec": lambda c: pickle.dumps(Calls(exec, f"import os; os.system({c!r})")),
    "getattr": lambda c: pickle.dumps(Calls(getattr, Calls(os.system, c), "x")),
    "within the names": lambda c: pickle.dumps(encoder_with(["a", Calls(os.system, c)])),
    "within a list": lambda c: pickle.dumps(["a", [Calls(os.system, c)]]),
    "STACK_GLOBAL": stack_global,
    "INST": lambda c: f"(S'{c}'\nios\nsystem\n.".encode(),
    "OBJ": lambda c: f"(cos\nsystem\nS'{c}'\no.".encode(),
    "NEWOBJ_EX": lambda c: b"\x80\x04cos\nsystem\n(S'" + c.encode() + b"'\nt}\x92.",
    "EXT1": lambda c: b"\x80\x02\x82\xc8(S'" + c.encode() + b"'\ntR.",
    "EXT2": lambda c: b"\x80\x02\x83\xc8\x00(S'" + c.encode() + b"'\ntR.",
    "EXT4": lambda c: b"\x80\x02\x84\xc8\x00\x00\x00(S'" + c.encode() + b"'\ntR.",
    "BUILD": lambda c: pickle.dumps(HasState(c)),
    "behind an early name": lambda c: b"\x80\x04\x8c\x01a0" + stack_global(c)[2:],
}


@pytest.fixture
def extension() -> Iterator[None]:
    """The register of short names knows `os.system`, as a library in the same process may have arranged."""
    copyreg.add_extension(os.system.__module__, "system", 0xC8)
    yield
    copyreg.remove_extension(os.system.__module__, "system", 0xC8)


@pytest.mark.parametrize("form", HOSTILE)
def test_a_hostile_pickle_is_refused_and_never_run(form: str, tmp_path: Path, extension: None) -> None:
    marker = tmp_path / "ran"
    payload = HOSTILE[form](touch(marker))
    (tmp_path / "labels.pickle").write_bytes(payload)
    with pytest.raises(PickleError, match="nothing in it was run"):
        read(payload)
    with pytest.raises(NamesError, match=r"labels.pickle: .*nothing in it was run"):
        find(tmp_path / "labels.pickle")
    assert not marker.exists()
    # That it is hostile is seen when Python's own unpickler has it.
    try:
        pickle.loads(payload)
    except (TypeError, AttributeError, pickle.UnpicklingError):
        assert form in ("NEWOBJ_EX", "getattr")  # the first makes objects of classes alone
    assert marker.exists() or form == "NEWOBJ_EX"


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"Pevil\n.", id="PERSID"),
        pytest.param(b"\x8c\x04evilQ.", id="BINPERSID"),
        pytest.param(b"\x80\x05\x97.", id="NEXT_BUFFER"),
        pytest.param(b"\x8c\x01a2222.", id="DUP"),
        pytest.param(b"\x8f(\x8c\x01a\x90.", id="a set"),
        pytest.param(b"cnumpy\nndarray.__class__\n.", id="a name within a name"),
        pytest.param(b"csklearn.preprocessing._label\nnp\n.", id="another name of an allowed module"),
        pytest.param(b"c__main__\nLabelEncoder\n.", id="an allowed name of another module"),
        pytest.param(b"cnumpy\nload\n(S'x'\ntR.", id="numpy.load"),
    ],
)
def test_what_no_binarizer_needs_is_refused(payload: bytes) -> None:
    with pytest.raises(PickleError, match=r"which no label binarizer needs|refused"):
        read(payload)


def doubled(levels: int) -> bytes:
    """A tuple of two of itself, and so on: few bytes, and 2^levels leaves for whoever walks through it."""
    return b")" + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(levels))


def array(shape: bytes, dtype: bytes, data: bytes) -> bytes:
    """A numpy array as protocol 0 writes it; the shape is a number, the dtype a name."""
    made = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
    kind = b"cnumpy\ndtype\n(V" + dtype + b"\nI00\nI01\ntR(I3\nV<\nNNNI-1\nI-1\nI0\ntb"
    return b"\x80\x03" + made + b"(I1\n(I" + shape + b"\nt" + kind + b"I00\n" + data + b"tb."


BOMBS = {
    "memo at 2^31": b"\x8c\x01ar\xff\xff\xff\x7f.",
    "bytes of 2^62": b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.",
    "a bytearray of 2^40": b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x.",
    "text of 2^40": b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"x.",
    "an int of 2^31 bytes": b"\x8b\xff\xff\xff\x7fx.",
    "a key that takes for ever to hash": b"}" + doubled(200) + b"Ns.",
    "names that take for ever to print": doubled(200) + b".",
    "an array of 2^40 names": array(b"1099511627776", b"U8", b"C\x04abcd"),
    "an array of names of 999999 characters": array(b"1", b"U999999", b"C\x04abcd"),
    "an array of itself": array(b"1", b"O8", b"]q\x00h\x00a"),
}


@pytest.mark.parametrize("form", BOMBS)
def test_a_bomb_takes_no_memory(form: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((PickleError, NamesError)):
            names(items_of(read(BOMBS[form])))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_a_file_of_many_megabytes_is_not_read() -> None:
    with pytest.raises(PickleError, match="far more than a label binarizer needs"):
        read(bytes(MAX_BYTES + 1))


REAL = [pickle.dumps(LabelEncoder().fit(["b", "a ñ", "c"]), n) for n in PROTOCOLS]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_pickles_are_read_or_refused(data: st.DataObject) -> None:
    payload = bytearray(data.draw(st.sampled_from(REAL)))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PickleError, NamesError):
        from_pickle(bytes(payload))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    with contextlib.suppress(PickleError, NamesError):
        from_pickle(payload)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_cut_off_pickle_is_refused(protocol: int) -> None:
    for length in range(len(REAL[protocol])):
        with pytest.raises(PickleError):
            read(REAL[protocol][:length])
