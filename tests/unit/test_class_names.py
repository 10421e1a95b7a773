"""Class names from what real libraries write."""

import json
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.preprocessing import LabelBinarizer, LabelEncoder, MultiLabelBinarizer

from cli.classes.class_names import NamesError, find, from_pickle
from cli.main import main
from worker.classes_file import read_classes

NAMES = ["Quercus ilex hoja", "Pinus pinea tallo", "Ñandú"]
SORTED = sorted(NAMES)
BINARIZERS = {
    "LabelBinarizer": LabelBinarizer().fit(NAMES),
    "LabelEncoder": LabelEncoder().fit(NAMES),
    "LabelEncoder of objects": LabelEncoder().fit(np.array(NAMES, object)),
    "MultiLabelBinarizer": MultiLabelBinarizer().fit([NAMES[:2], NAMES[2:]]),
    "an array": np.array(SORTED),
    "an array of objects": np.array(SORTED, object),
    "an array, its bytes the other way round": np.array(SORTED).astype(">U20"),
    "a list": SORTED,
    "a list of numpy's strings": list(np.array(SORTED)),
    "class_indices": {name: index for index, name in enumerate(SORTED)},
    "numpy's class_indices": {str(name): int(index) for index, name in enumerate(SORTED)},
}


@pytest.mark.parametrize("form", BINARIZERS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_real_pickle_gives_its_names(form: str, protocol: int) -> None:
    assert from_pickle(pickle.dumps(BINARIZERS[form], protocol)).names == SORTED


@pytest.mark.parametrize("form", BINARIZERS)
def test_a_file_of_joblib_gives_its_names(form: str, tmp_path: Path) -> None:
    joblib.dump(BINARIZERS[form], tmp_path / "labels")
    assert find(tmp_path / "labels").names == SORTED


def test_scikit_learn_s_own_joblib_of_old_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    joblib.dump(BINARIZERS["LabelEncoder of objects"], path)
    old, now = (b"sklearn.externals.joblib.numpy_pickle", b"joblib.numpy_pickle")
    data = path.read_bytes().replace(bytes([len(now)]) + now, bytes([len(old)]) + old)
    path.write_bytes(
        data.replace(b"preprocessing._label", b"preprocessing.label").replace(b"\x1csk", b"\x1bsk")
    )
    assert find(path).names == SORTED


def test_a_compressed_file_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    joblib.dump(BINARIZERS["LabelEncoder"], tmp_path / "labels", compress=3)
    with pytest.raises(NamesError, match="is compressed: unpack it first"):
        find(tmp_path / "labels")


def test_numbers_are_names_too() -> None:
    assert from_pickle(pickle.dumps(LabelEncoder().fit([10, 9]))).names == ["9", "10"]


def test_python_2_s_strings_are_utf_8() -> None:
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt"
    dtype = b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb"
    names = rb"I00" + b"\n(lS'\\xc3\\x91and\\xc3\\xba'\naS'b'\natb"
    state = b"(dS'classes_'\n" + array + dtype + names + b"s"
    encoder = (
        b"ccopy_reg\n_reconstructor\n(csklearn.preprocessing.label\nLabelEncoder\nc__builtin__\nobject\nNtR"
    )
    assert from_pickle(encoder + state + b"b.").names == ["Ñandú", "b"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param(LabelEncoder(), "has no classes: it was saved before `fit`", id="not fitted"),
        pytest.param(np.array([["a", "b"]]), "has 2 dimensions", id="a table"),
        pytest.param(np.array(["2026-01-01"], "M8[D]"), "is of the type 'M8'", id="dates"),
        pytest.param("names", "holds no class names", id="a string"),
        pytest.param([["a"], ["b"]], "a list stands where a class name should be", id="lists"),
        pytest.param({"a": "b"}, "neither the keys nor the values", id="a dict of strings"),
    ],
)
def test_what_holds_no_names_says_what_it_holds(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        from_pickle(pickle.dumps(value))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        pytest.param(["b", "a"], ["b", "a"], id="a list keeps its order"),
        pytest.param({"b": 1, "a": 0, "c": 2}, ["a", "b", "c"], id="class_indices"),
        pytest.param({"10": "k", **{str(n): f"c{n}" for n in range(10)}}, None, id="by number, not by text"),
        pytest.param({"0": ["n01", "tench"], "1": ["n02", "shark"]}, ["tench", "shark"], id="ImageNet"),
        pytest.param(
            {"0": ["n1", "crane"], "1": ["n2", "crane"]}, ["crane (n1)", "crane (n2)"], id="two cranes"
        ),
    ],
)
def test_json_gives_names_by_their_numbers(value: Any, names: list[str] | None, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps(value))
    assert find(tmp_path / "index.json").names == (names or [*(f"c{n}" for n in range(10)), "k"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param('{"a": 0, "b": 2}', "not 0 to 1: 1 is missing", id="a gap"),
        pytest.param('{"a": 0, "b": 0}', "not 0 to 1: 0 comes twice", id="twice"),
        pytest.param('{"a": 1, "b": 2}', "0 is missing", id="from 1"),
        pytest.param('["a", "a"]', "line 2: repeats 'a' of line 1", id="a name twice"),
        pytest.param('["a", ""]', "the name '' is empty", id="no name"),
        pytest.param('["a\\nb", "c"]', "or has a line break", id="two lines"),
        pytest.param('{"a": ', "looks like JSON, but is not", id="cut off"),
        pytest.param("{}", "holds no class names", id="nothing in it"),
        pytest.param("[" * 100_000, "looks like JSON, but is not", id="too deep"),
    ],
)
def test_a_wrong_index_says_what_is_wrong(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(NamesError, match=words):
        find(tmp_path / "index.json")


def test_the_command_writes_what_the_service_reads(tmp_path: Path) -> None:
    joblib.dump(BINARIZERS["LabelBinarizer"], tmp_path / "labels.pickle")
    output = tmp_path / "classes.txt"
    assert main(["classes", str(tmp_path / "labels.pickle"), "--output", str(output)]) == 0
    assert read_classes(output) == tuple(SORTED)


def test_the_command_replaces_no_file_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "index.json").write_text('["a", "b"]')
    output = tmp_path / "classes.txt"
    output.write_text("mine")
    command = ["classes", str(tmp_path / "index.json"), "--output", str(output)]
    assert main(command) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main([*command, "--force"]) == 0
    assert output.read_text() == "a\nb\n"


def test_names_alone_go_to_the_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "index.json").write_text('["a", "b"]')
    assert main(["classes", str(tmp_path / "index.json")]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("a\nb\n", "classification-server: 2 classes from a JSON index\n")


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(NamesError, match="/dev/zero: it has more than"):
        find(Path("/dev/zero"))


def test_a_missing_file_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classes", str(tmp_path / "none")]) == 2
    assert "can't be read: No such file" in capsys.readouterr().err
