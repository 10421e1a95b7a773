import csv
from pathlib import Path

import pytest

from shared.settings import Settings
from worker.classes_file import check_class_count, read_classes
from worker.model_allowlist import ModelError
from worker.thresholds_file import (
    COLUMNS,
    PROVENANCE,
    Threshold,
    header,
    provenance,
    provenance_warnings,
    read_provenance,
    read_thresholds,
)

CLASSES = ("Pinus pinea hoja", "Pinus pinea tallo", "Quercus ilex hoja")
HEADER = "class,top1_minval,top1_maxval,top2_minval,top2_maxval,correct_percentage\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "file.txt"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("text", ["a\nb ñ\nc", "a\r\nb ñ\r\nc\r\n\r\n", "\ufeffa\nb ñ\nc\n"])
def test_classes_are_read_from_any_editors_file(tmp_path: Path, text: str) -> None:
    assert read_classes(write(tmp_path, text)) == ("a", "b ñ", "c")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\n\nb", "line 2: expected a class name, got an empty line"),
        ("a\nb\na", "line 3: the class 'a' is already on line 1"),
        ("", "expected class names, got an empty file"),
    ],
)
def test_an_invalid_classes_file_is_reported_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read_classes(write(tmp_path, text))


def test_a_missing_or_binary_file_is_reported_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"INFERENCE_CLASSES_FILE: .*none can't be read"):
        read_classes(tmp_path / "none")
    (tmp_path / "latin1").write_bytes(b"\xf1\xff")
    with pytest.raises(ModelError, match="UTF-8"):
        read_thresholds(tmp_path / "latin1", CLASSES)


def test_thresholds_are_read_and_missing_cells_are_minus_one(tmp_path: Path) -> None:
    rows = f"{CLASSES[0]},0.9,1.0,0.1,0.5,0.8\r\n{CLASSES[1]},0.7,,,n/a,nan\n\n"
    assert read_thresholds(write(tmp_path, HEADER + rows), CLASSES) == {
        CLASSES[0]: Threshold(0.9, 0.5, 0.8),
        CLASSES[1]: Threshold(0.7, -1.0, -1.0),
    }


@pytest.mark.parametrize(
    ("row", "words"),
    [
        pytest.param(f"{CLASSES[0]},0.9,1.0", "line 2: expected 6 cells, got 3", id="short"),
        pytest.param(f"{CLASSES[0]},1,1,1,1,1,1", "line 2: expected 6 cells, got 7", id="long"),
        pytest.param("Abies,1,1,1,1,1", "'Abies' is not in the classes file", id="unknown class"),
        pytest.param(
            f"{CLASSES[0]},1,1,1,1,1\n{CLASSES[0]},1,1,1,1,1", "line 3: the file has a second row", id="twice"
        ),
    ],
)
def test_an_invalid_row_is_reported_with_its_line(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read_thresholds(write(tmp_path, HEADER + row), CLASSES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "line 1: expected 6 cells, got 0", id="empty file"),
        pytest.param("class;top1_minval\n", "line 1: expected 6 cells, got 2", id="other separator"),
        pytest.param(
            f"{CLASSES[0]},,,,,\n",
            "line 1: expected the header, got a class's row",
            id="a class and no header",
        ),
        pytest.param(
            "Abies,0.9,1,0.1,0.5,0.8\n",
            "line 1: expected the header, got a class's row",
            id="numbers and no header",
        ),
        pytest.param(
            "class,top1_minval,top2_minval,top1_maxval,top2_maxval,correct_percentage\n",
            "line 1: expected top1_maxval, got top2_minval",
            id="other order",
        ),
    ],
)
def test_a_first_line_that_is_no_header_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read_thresholds(write(tmp_path, text), CLASSES)


@pytest.mark.parametrize("header", ["Clase,a1,a2,b1,b2,p\n", HEADER.upper(), HEADER.replace(",", " , ")])
def test_a_header_with_other_names_is_accepted(tmp_path: Path, header: str) -> None:
    found = read_thresholds(write(tmp_path, f"{header}{CLASSES[0]},0.9,1.0,0.1,0.5,0.8"), CLASSES)
    assert found == {CLASSES[0]: Threshold(0.9, 0.5, 0.8)}


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "n/a", "#N/A", "NULL", "None", "-", "-1"])
def test_a_cell_without_a_number_is_missing(tmp_path: Path, cell: str) -> None:
    found = read_thresholds(write(tmp_path, f'{HEADER}{CLASSES[0]},"{cell}",1,0.1,0.5,0.8'), CLASSES)
    assert found[CLASSES[0]].top1_min == -1.0


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        *[
            ("0,5", 0.5),
            (",5", 0.5),
            ("50%", 0.5),
            ("50 %", 0.5),
            ("12,5%", 0.125),
            ("5e-1", 0.5),
            ("+.5", 0.5),
        ],
        *[("1.0000001", 1.0000001), ("0.97000003", 0.97000003), ("1", 1.0)],
    ],
)
def test_a_number_is_read_in_a_spreadsheets_form(tmp_path: Path, cell: str, value: float) -> None:
    found = read_thresholds(write(tmp_path, f'{HEADER}{CLASSES[0]},"{cell}",1,0.1,0.5,0.8'), CLASSES)
    assert found[CLASSES[0]].top1_min == value


@pytest.mark.parametrize("column", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("cell", "advice"),
    [
        *[("98", "Did you mean 0.98?"), ("98.5", "Did you mean 0.985?"), ("'0.8", "Did you mean 0.8?")],
        *[("0_8", "Did you mean 0.8?"), ("1.000,8", "Write a number"), ("1.5", "Write a number")],
        *[("inf", "Write a number"), ("-inf", "Write a number"), ("1e999", "Write a number")],
        *[("-0.5", "Write a number"), ("0x1", "Write a number"), ("200%", "Write a number")],
        *[("high", "Write a number"), ("0 8", "Write a number")],
    ],
)
def test_a_cell_with_anything_else_is_refused_by_line_and_column(
    tmp_path: Path, column: int, cell: str, advice: str
) -> None:
    cells = [CLASSES[0], "0.7", "0.9", "0.1", "0.5", "0.8"]
    cells[column] = f'"{cell}"'
    with pytest.raises(ModelError) as error:
        read_thresholds(write(tmp_path, HEADER + ",".join(cells)), CLASSES)
    assert f"line 2, {COLUMNS[column]}: expected a number from 0 to 1, got {cell!r}. {advice}" in str(
        error.value
    )


def test_invalid_csv_is_reported_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="line 2: expected CSV, got an error"):
        read_thresholds(write(tmp_path, f"{HEADER}{'x' * 200_000},1,1,1,1,1"), CLASSES)


def test_the_threshold_is_the_originals_formula() -> None:
    assert Threshold(0.9, 0.5, 0.8).value == pytest.approx(0.9 - (1 - 0.8) * (0.9 - 0.5) / 2)
    assert Threshold(0.7, -1.0, -1.0).value == pytest.approx(0.7 - 2 * 1.7 / 2)


def test_the_classes_must_be_as_many_as_the_outputs() -> None:
    check_class_count(3, CLASSES, Path("classes.txt"))
    with pytest.raises(ModelError, match=r"classes\.txt: expected 10 classes.*, got 3"):
        check_class_count(10, CLASSES, Path("classes.txt"))


# -------------------------------------------------------------------- provenance

MODEL = "0123456789abcdef" * 4
RUNNING = provenance(Settings(), MODEL, (299, 299, 3))
NORMALIZED = provenance(
    Settings(preprocess="normalize", mean=(0.485, 0.456, 0.406), std=(0.25,), output="age"),
    MODEL,
    (299, 299, 3),
)


def made(folder: Path, **changed: str) -> Path:
    """A thresholds file from `calibrate` for one class."""
    lines = (",".join(header(RUNNING | changed)), f"{CLASSES[0]},0.9,1.0,0.1,0.5,0.8")
    return write(folder, "\n".join(lines))


def test_a_file_contains_what_decides_scores(tmp_path: Path) -> None:
    path = made(tmp_path)
    assert read_provenance(path) == {
        **{"model": MODEL, "precision": "float32", "preprocess": "inception_v3", "activation": "none"},
        **{"color": "rgb", "resize": "antialias", "input": "299x299x3"},
    }
    assert read_thresholds(path, CLASSES) == {CLASSES[0]: Threshold(0.9, 0.5, 0.8)}
    assert provenance_warnings(path, RUNNING) == []


def test_each_reader_of_the_original_form_accepts_the_header() -> None:
    """The rules by which the earlier versions of this server read the first line."""
    cells = next(csv.reader([",".join(header(RUNNING))]))
    assert len(cells) == len(COLUMNS) == 6 and cells[0] == "class"
    for at, (cell, column) in enumerate(zip(cells, COLUMNS, strict=True)):
        assert cell.strip().lower() not in {*COLUMNS} - {column}
        assert (cell == column) is (at != 3) and cell.split()[0] == column


def test_a_file_of_another_model_or_precision_causes_a_warning_with_both(tmp_path: Path) -> None:
    (found,) = provenance_warnings(made(tmp_path, model="f" * 64, precision="bfloat16"), RUNNING)
    assert found.startswith(
        "INFERENCE_THRESHOLDS_FILE: expected thresholds for model 0123456789ab, precision float32, got"
        " thresholds for model ffffffffffff, precision bfloat16. Run "
    )


@pytest.mark.parametrize("name", [each for each in PROVENANCE if each != "model"])
def test_another_value_of_any_setting_causes_a_warning(tmp_path: Path, name: str) -> None:
    path = made(tmp_path, **NORMALIZED)
    assert read_provenance(path) == NORMALIZED and NORMALIZED["mean"] == "0.485_0.456_0.406"
    assert provenance_warnings(path, NORMALIZED) == []
    (found,) = provenance_warnings(made(tmp_path, **NORMALIZED | {name: "another_1"}), NORMALIZED)
    assert f"{name} {NORMALIZED[name]}, got thresholds for {name} another_1. " in found


@pytest.mark.parametrize("head", [HEADER, "Clase,a1,a2,b1,b2,p\n", "class,a,b,c model= precision,d,e\n", ""])
def test_a_file_written_by_hand_causes_no_warning(tmp_path: Path, head: str) -> None:
    path = write(tmp_path, f"{head}{CLASSES[0]},1,1,1,1,1\n")
    assert (read_provenance(path), provenance_warnings(path, RUNNING)) == ({}, [])


def test_only_the_fields_of_the_file_are_compared(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER.replace("correct", "new=1 precision=tf32 color=rgb correct"))
    (found,) = provenance_warnings(path, RUNNING)
    assert "for precision float32, got thresholds for precision tf32. " in found


def test_a_spreadsheet_that_quotes_cells_keeps_the_provenance(tmp_path: Path) -> None:
    path = made(tmp_path)
    quoted = path.read_text().replace(",", '","').replace("\n", '"\r\n"')
    path.write_bytes(f'\ufeff"{quoted}"'.encode())
    assert read_provenance(path) == RUNNING and len(read_thresholds(path, CLASSES)) == 1


def test_columns_in_another_order_are_still_refused(tmp_path: Path) -> None:
    cells = header(RUNNING)
    with pytest.raises(ModelError, match="line 1: expected top1_maxval, got top2_minval"):
        read_thresholds(write(tmp_path, ",".join([*cells[:2], cells[3], cells[2], *cells[4:]])), CLASSES)
