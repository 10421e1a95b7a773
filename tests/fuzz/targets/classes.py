"""The classes file: names that differ, or a `ModelError` of one line."""

from tests.fuzz.targets.files import written
from worker.classes_file import read_classes
from worker.model_allowlist import ModelError

SEEDS = [
    b"one\ntwo\nthree\n",
    b"\xef\xbb\xbfGenus species folium\r\nother\r\n",
    b"one\n\ntwo",
    b"one\none",
    b"\n",
    b"\xff",
    b"0 one\n1 two\n2 three\n",
    b'"one, two",0\n"three",1\n',
    b"['one', 'two']",
    b"\xff\xfeo\0n\0e\0\n\0t\0w\0o\0",
]
WORDS = [b"\n", b"\r", b"\xef\xbb\xbf", b"one", b"\xc2\x85", b"\0", b'"', b",", b"0 "]


def run(data: bytes) -> None:
    try:
        classes = read_classes(written(data))
    except ModelError as error:
        assert str(error) and "\n" not in str(error)
        return
    assert classes and len(set(classes)) == len(classes) and all(classes)
