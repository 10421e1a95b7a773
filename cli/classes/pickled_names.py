"""Reads class names from a pickle in a process with limited memory and CPU time."""

import json
import resource
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from cli.classes.inert_unpickler import BINARIZERS, unpickle
from cli.classes.ordered_names import ClassNames, NamesError, ordered_names
from cli.classes.pickle_stubs import Stub, plain
from shared.own_module import module_command, module_environ

MAX_BYTES = 64 * 2**20
"""Maximum size of a file with class names, in bytes.

A pickle of ten thousand names is smaller than one MiB.
"""

CPU_SECONDS = 10
"""Maximum CPU time to read one pickle, in seconds."""

TOO_LONG = f"expected at most {MAX_BYTES} bytes of class names, got more"
_MAX_MEMORY = 2**30
_COMPRESSED = (b"\x78", b"\x1f\x8b", b"BZ", b"\xfd7zXZ\0")
_ONE_COLUMN = "a LabelBinarizer of two classes suits a model with one output; such models are not supported"


def read_pickle(data: bytes) -> ClassNames:
    """Read the names from a pickle in a separate process.

    Raises:
        NamesError: the pickle is refused or damaged, contains no names, or needs too much memory or time.
    """
    command, environ = module_command("cli.classes.pickled_names", str(CPU_SECONDS)), module_environ()
    done = subprocess.run(command, input=data, env=environ, capture_output=True, check=False)  # noqa: S603 (our own)
    if done.returncode:
        raise NamesError(
            f"expected a label binarizer, got a file that can't be read within {CPU_SECONDS} s of CPU time"
            f" (exit status {done.returncode}). The file is damaged or hostile, and nothing in it was run."
        )
    found = json.loads(done.stdout)
    if "error" in found:
        raise NamesError(found["error"])
    return ClassNames(found["names"], found["source"], tuple(found["notes"]))


def parse_pickle(data: bytes) -> ClassNames:
    """Read the names from a pickle in this process. The caller limits the process's memory and CPU time.

    Raises:
        NamesError: the pickle is refused or damaged, or contains no names.
    """
    if data.startswith(_COMPRESSED):
        raise NamesError(
            "expected an uncompressed pickle, got a compressed one. Unpack it with gunzip, or write it with"
            " joblib.dump without `compress`."
        )
    try:
        found = _names(unpickle(data))
        # A small pickle can repeat a long name, so the result can be large.
        if sum(map(len, found.names)) + len(found.names) > MAX_BYTES:
            raise NamesError(TOO_LONG)
        return found
    except NamesError:
        raise
    except Exception as error:
        raise NamesError(
            f"expected a pickle of class names, got a damaged or hostile file ({type(error).__name__}:"
            f" {str(error)[:200]}). Nothing in it was run."
        ) from None


def _names(value: Any) -> ClassNames:
    kind = value.name if isinstance(value, Stub) else ""
    if kind not in BINARIZERS:
        return ClassNames(ordered_names(plain(value)), "a pickled list of names")
    classes = value.state.get("classes_") if isinstance(value.state, dict) else None
    if classes is None:
        raise NamesError(f"expected a fitted {kind}, got a {kind} without classes. Save it after `fit`.")
    names = ordered_names(plain(classes))
    notes = (_ONE_COLUMN,) if kind == "LabelBinarizer" and len(names) == 2 else ()
    return ClassNames(names, f"a {kind} of scikit-learn", notes)


def _main() -> None:
    seconds = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        found: dict[str, Any] = asdict(parse_pickle(sys.stdin.buffer.read()))
    except NamesError as error:
        found = {"error": str(error)}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    _main()
