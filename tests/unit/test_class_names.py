"""Class names from files of real libraries."""

import json
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.preprocessing import LabelBinarizer, LabelEncoder, MultiLabelBinarizer

from cli.classes.class_names import read_class_names
from cli.classes.ordered_names import NamesError
from cli.classes.pickled_names import parse_pickle
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
    "an array in the other byte order": np.array(SORTED).astype(">U20"),
    "a list": SORTED,
    "a list of numpy's strings": list(np.array(SORTED)),
    "class_indices": {name: index for index, name in enumerate(SORTED)},
    "numpy's class_indices": {str(name): int(index) for index, name in enumerate(SORTED)},
}


@pytest.mark.parametrize("form", BINARIZERS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_real_pickle_gives_its_names(form: str, protocol: int) -> None:
    assert parse_pickle(pickle.dumps(BINARIZERS[form], protocol)).names == SORTED


@pytest.mark.parametrize("form", BINARIZERS)
def test_a_file_of_joblib_gives_its_names(form: str, tmp_path: Path) -> None:
    joblib.dump(BINARIZERS[form], tmp_path / "labels")
    assert read_class_names(tmp_path / "labels").names == SORTED


def test_scikit_learn_s_own_joblib_of_old_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    joblib.dump(BINARIZERS["LabelEncoder of objects"], path, protocol=3)  # Python 3.7 and before
    data = path.read_bytes().replace(b"cjoblib.numpy_pickle", b"csklearn.externals.joblib.numpy_pickle")
    path.write_bytes(data.replace(b"preprocessing._label", b"preprocessing.label"))
    assert read_class_names(path).names == SORTED


def test_a_compressed_file_is_reported_as_such(tmp_path: Path) -> None:
    joblib.dump(BINARIZERS["LabelEncoder"], tmp_path / "labels", compress=3)
    with pytest.raises(NamesError, match="expected an uncompressed pickle, got a compressed one"):
        read_class_names(tmp_path / "labels")


def test_numbers_are_names_too() -> None:
    assert parse_pickle(pickle.dumps(LabelEncoder().fit([10, 9]))).names == ["9", "10"]


def test_python_2_s_strings_are_utf_8() -> None:
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt"
    dtype = b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb"
    names = rb"I00" + b"\n(lS'\\xc3\\x91and\\xc3\\xba'\naS'b'\natb"
    state = b"(dS'classes_'\n" + array + dtype + names + b"s"
    encoder = (
        b"ccopy_reg\n_reconstructor\n(csklearn.preprocessing.label\nLabelEncoder\nc__builtin__\nobject\nNtR"
    )
    assert parse_pickle(encoder + state + b"b.").names == ["Ñandú", "b"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(
            LabelEncoder(),
            "expected a fitted LabelEncoder, got a LabelEncoder without classes",
            id="not fitted",
        ),
        pytest.param(np.array([["a", "b"]]), "got 2 dimensions", id="a table"),
        pytest.param(np.array(["2026-01-01"], "M8[D]"), "got the dtype 'M8'", id="dates"),
        pytest.param("names", "expected class names as .* got a str", id="a string"),
        pytest.param([["a"], ["b"]], "expected a class name, got a list", id="lists"),
        pytest.param({"a": "b"}, "as the keys or values of the dict, got neither", id="a dict of strings"),
    ],
)
def test_a_pickle_without_names_is_refused_with_its_content(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_pickle(pickle.dumps(value))


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
    assert read_class_names(tmp_path / "index.json").names == (names or [*(f"c{n}" for n in range(10)), "k"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{"a": 0, "b": 2}', "each index from 0 to 1 once, got no 1", id="a gap"),
        pytest.param('{"a": 0, "b": 0}', "each index from 0 to 1 once, got 0 twice", id="twice"),
        pytest.param('{"a": 1, "b": 2}', "got no 0", id="from 1"),
        pytest.param('["a", "a"]', "line 2: the class 'a' is already on line 1", id="a name twice"),
        pytest.param('["a", ""]', "expected a name on one line, got ''", id="no name"),
        pytest.param('["a\\nb", "c"]', "expected a name on one line", id="two lines"),
        pytest.param('{"a": ', "got invalid JSON", id="cut off"),
        pytest.param("{}", "expected class names as .* got an empty dict", id="nothing in it"),
        pytest.param("[" * 100_000, "got invalid JSON", id="too deep"),
    ],
)
def test_a_wrong_index_says_what_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(NamesError, match=message):
        read_class_names(tmp_path / "index.json")


def test_the_command_writes_what_the_service_reads(tmp_path: Path) -> None:
    joblib.dump(BINARIZERS["LabelBinarizer"], tmp_path / "labels.pickle")
    output = tmp_path / "classes.txt"
    assert main(["classes", str(tmp_path / "labels.pickle"), "--output", str(output)]) == 0
    assert read_classes(output) == tuple(SORTED)


def test_the_command_replaces_a_file_with_force_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "index.json").write_text('["a", "b"]')
    output = tmp_path / "classes.txt"
    output.write_text("mine")
    command = ["classes", str(tmp_path / "index.json"), "--output", str(output)]
    assert main(command) == 2
    assert "Add --force to replace the file" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main([*command, "--force"]) == 0
    assert output.read_text() == "a\nb\n"


def test_names_alone_go_to_the_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "index.json").write_text('["a", "b"]')
    assert main(["classes", str(tmp_path / "index.json")]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("a\nb\n", "classification-server: 2 classes from a JSON index\n")


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(NamesError, match="/dev/zero: expected at most 67108864 bytes"):
        read_class_names(Path("/dev/zero"))


def test_a_missing_file_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classes", str(tmp_path / "none")]) == 2
    assert "can't be read: No such file" in capsys.readouterr().err
