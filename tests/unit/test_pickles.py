"""Hostile and damaged pickles: refused, and nothing in them is run."""

import contextlib
import copyreg
import io
import os
import pickle
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import LabelEncoder

from cli.classes import pickled_names
from cli.classes.class_names import read_class_names
from cli.classes.inert_unpickler import InertUnpickler, unpickle
from cli.classes.ordered_names import NamesError
from cli.classes.pickle_stubs import Stub
from cli.classes.pickled_names import MAX_BYTES, parse_pickle, read_pickle

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
    with pytest.raises(NamesError, match="nothing in it was run"):
        parse_pickle(payload)
    with pytest.raises(NamesError, match=r"(?i)labels.pickle: .*nothing in it was run"):
        read_class_names(tmp_path / "labels.pickle")
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
    with pytest.raises(NamesError, match=r"which no label binarizer needs|hostile file|got a (str|set)"):
        parse_pickle(payload)


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
    "one long name again and again": pickle.dumps(["x" * 100_000], 2)[:-1]
    + b"("
    + b"h\x01" * 200_000
    + b"e.",
    "an array of itself": array(b"1", b"O8", b"]q\x00h\x00a"),
}


@pytest.mark.parametrize("form", BOMBS)
def test_a_bomb_ends_in_an_error(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled_names, "CPU_SECONDS", 1)
    started = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(NamesError):
            read_pickle(BOMBS[form])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("form", BOMBS)
def test_a_bomb_uses_no_more_memory_than_its_process_may(form: str, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(BOMBS[form])
    command = [sys.executable, "-P", "-m", "cli.classes.pickled_names", "1"]
    root = Path(pickled_names.__file__).parent.parent.parent
    with (tmp_path / "bomb").open("rb") as file:
        process = subprocess.Popen(command, stdin=file, stdout=subprocess.DEVNULL, cwd=root)
        _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0  # it is reaped already
    assert usage.ru_maxrss * 1024 <= 2**30
    assert usage.ru_utime + usage.ru_stime < 3


def test_a_file_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "labels.pickle").write_bytes(bytes(MAX_BYTES + 1))
    with pytest.raises(NamesError, match="expected at most 67108864 bytes of class names, got more"):
        read_class_names(tmp_path / "labels.pickle")


SETS_STATE = b"(S'a'\nS'b'\nd"


@pytest.mark.parametrize("name", [b"cnumpy\nndarray\n", b"ccopyreg\n_reconstructor\n", b"c_codecs\nencode\n"])
@pytest.mark.parametrize(
    "rest", [SETS_STATE + b"b", b"N" + SETS_STATE + b"\x86b", b"(S'a'\ne", SETS_STATE[:-1] + b"u"]
)
def test_a_stub_class_can_not_be_changed(name: bytes, rest: bytes) -> None:
    with pytest.raises(NamesError, match="damaged or hostile"):
        parse_pickle(name + rest + b".")


def test_a_stub_runs_nothing() -> None:
    stub = unpickle(b"cnumpy\nndarray\n(I1\nI2\ntR" + SETS_STATE + b"b.")
    assert isinstance(stub, Stub)
    assert (stub.name, stub.arguments, stub.state) == ("ndarray", (1, 2), {"a": b"b"})
    with pytest.raises(NamesError, match="damaged or hostile"):  # a stub of an object can't be called
        parse_pickle(b"cnumpy\nndarray\n)R)R.")


def test_the_cache_of_extension_codes_is_not_used(tmp_path: Path, extension: None) -> None:
    payload = HOSTILE["EXT1"](touch(tmp_path / "ran"))
    assert pickle.loads(payload[:4] + b".") is os.system
    with pytest.raises(NamesError, match="nothing in it was run"):
        parse_pickle(payload)
    assert not (tmp_path / "ran").exists()


def test_the_unpickler_reads_no_further_than_its_pickle() -> None:
    """Arrays of joblib stand right behind; the C implementation would read ahead of a file with `peek`."""
    assert not hasattr(io.BytesIO(), "peek")
    file = io.BytesIO(pickle.dumps(["a"]) + b"rest")
    assert InertUnpickler(file).load() == ["a"]
    assert file.read() == b"rest"


@pytest.fixture(scope="module")
def bounded_memory() -> Iterator[None]:
    """Bounds this process as `read_pickle` bounds its own: damage may make a memo of gigabytes."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


REAL = [pickle.dumps(LabelEncoder().fit(["b", "a ñ", "c"]), n) for n in PROTOCOLS]


@given(st.data())
@settings(max_examples=300, deadline=None)
@pytest.mark.usefixtures("bounded_memory")
def test_damaged_pickles_are_read_or_refused(data: st.DataObject) -> None:
    payload = bytearray(data.draw(st.sampled_from(REAL)))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NamesError):
        parse_pickle(bytes(payload))


@given(st.binary(max_size=60))
@pytest.mark.usefixtures("bounded_memory")
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    with contextlib.suppress(NamesError):
        parse_pickle(payload)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_cut_off_pickle_is_refused(protocol: int) -> None:
    for length in range(len(REAL[protocol])):
        with pytest.raises(NamesError):
            parse_pickle(REAL[protocol][:length])
