"""Label files as people save them: each is read rightly, or refused with a sentence that helps."""

import logging
import re
import subprocess
from pathlib import Path

import pytest

from cli.calibrate.labelled_images import CalibrationError, from_folders, from_table
from cli.check.findings import Report
from cli.check.serving_check import _check_classes, _check_thresholds
from cli.classes.class_names import read_class_names
from cli.classes.ordered_names import NamesError
from shared.settings import Settings
from worker.__main__ import _read_label_files
from worker.class_lookup import ClassLookup
from worker.classes_file import check_class_count, parse_classes, read_classes, read_classes_file
from worker.model_allowlist import ModelError
from worker.text_file import Remark
from worker.thresholds_file import header, provenance_warnings, read_provenance, read_thresholds_file

CASES = Path(__file__).parent.parent / "cases" / "labels"
PLANTS = ("Cempasúchil hoja", "Ñandú pluma", "Maguey flor")
PETS = ("cat", "dog", "bird")
GATOS = ("gato", "perro", "ave")
THREE = {PLANTS[0]: (0.9, 0.4, 0.8), PLANTS[1]: (0.7, 0.3, 0.9), PLANTS[2]: (0.8, 0.2, 1.0)}
FIRST, LAST = {PLANTS[0]: (0.9, 0.4, 0.8)}, {PLANTS[2]: (0.8, 0.2, 1.0)}
EMPTY = {PLANTS[2]: (-1.0, -1.0, -1.0)}
ICONV = "convert it with `iconv -f {} -t UTF-8 {}"

CLASSES: dict[str, tuple[tuple[str, ...] | None, str]] = {
    "bom-utf8-crlf": (PLANTS, ""),
    "bom-utf8": (PLANTS, ""),
    "comments": (None, "got 4. Delete line 1 if '# my classes' is a header or a comment"),
    "control-chars": (
        ("c\x1b[31mat", "dog", "bird"),
        "warning: line 1: the name .* has invisible characters .U.001B",
    ),
    "cp1252-quotes": (None, "the line reads 'Cempasúchil “hoja”'. If this is right, " + ICONV[:26]),
    "cr-only": (PLANTS, ""),
    "crlf": (PLANTS, ""),
    "csv-index-first": (
        PETS,
        "note: the lines have numbers from 0, which the names leave out; line 1, '0,cat'",
    ),
    "csv-index-last": (
        PETS,
        "note: the lines have numbers from 0, which the names leave out; line 1, 'cat,0'",
    ),
    "docx": (None, "got a document of an office program, or a ZIP archive. Save it as plain text"),
    "duplicate-by-case": (
        ("cat", "Cat", "CAT"),
        "warning: line 2: the name 'Cat' differs from line 1 in capitals",
    ),
    "duplicate-by-inner-space": (
        ("Rosa canina hoja", "Rosa  canina hoja", "x"),
        "warning: line 2: the name 'Rosa  canina hoja' differs from line 1 in capitals or spaces only",
    ),
    "duplicate-nfc-nfd": (
        None,
        "line 2: the class .* is already on line 1, with its accents composed in another",
    ),
    "duplicate": (None, "line 3: the class 'cat' is already on line 1"),
    "emoji": (("🐱", "🐶", "🐦"), ""),
    "empty": (None, "expected class names, got an empty file"),
    "form-feed-page": (PETS, ""),
    "header-line": (None, "got 4. Delete line 1 if 'class' is a header"),
    "imagenet-synset": (("n02123045 tabby, tabby cat", "n02123159 tiger cat", "n02123394 Persian cat"), ""),
    "index-colon": (PETS, "note: the lines have numbers from 0, which the names leave out; line 1, '0: cat'"),
    "json-dict": (
        None,
        "got a list or index in JSON or Python. .*`classification-server classes .*json-dict.txt",
    ),
    "json-list-lines": (None, "`classification-server classes .*json-list-lines.txt -o"),
    "json-list": (None, "`classification-server classes .*json-list.txt -o"),
    "latin1": (
        None,
        ICONV.format("WINDOWS-1252", ".*/classes-latin1.txt > .*/classes-latin1-utf8.txt` .PowerShell"),
    ),
    "leading-blank-line": (None, "line 1: expected a class name, got an empty line"),
    "line-separator-u2028": (("cat\u2028x", "dog", "bird"), "warning: line 1: .*U.2028"),
    "macroman": (None, "the line reads 'Cempasœchil hoja'. .* Otherwise use .* MACINTOSH"),
    "middle-blank-line": (None, "line 2: expected a class name, got an empty line"),
    "mojibake": (
        ("CempasÃºchil hoja", "Ã\x91andÃº pluma", "Maguey flor"),
        "warning: line 1: .* was converted wrongly; did you mean 'Cempasúchil hoja'",
    ),
    "nbsp": (("Rosa\xa0canina hoja", "b", "c"), "warning: line 1: .*U.00A0"),
    "next-line-u0085": (("cat\x85x", "dog", "bird"), "warning: line 1: .*U.0085"),
    "no-final-newline": (PLANTS, ""),
    "nul": (None, "got a NUL byte in line 1. Delete the byte"),
    "one-line-commas": (None, "got 1. Write each name on a line of its own; the only line is 'cat,dog,bird'"),
    "one-line-spaces": (None, "got 1. Write each name on a line of its own; the only line is 'cat dog bird'"),
    "only-bom": (None, "expected class names, got an empty file"),
    "only-spaces": (None, "expected class names, got an empty file"),
    "plain-lf": (PLANTS, ""),
    "python-list": (None, "`classification-server classes .*python-list.txt -o"),
    "quoted-commas": (("Rosa, roja", "Rosa, blanca", "Lirio"), "note: the lines have quotes"),
    "rtf": (None, "got a rich text document .RTF.. Save it as plain text"),
    "rtl": (("قط", "كلب", "طائر"), ""),
    "semicolon-end": (PETS, "note: the lines have separators at their ends"),
    "single-quotes": (PETS, "note: the lines have quotes, which the names leave out; line 1, \"'cat'\""),
    "tab-separated-index": (GATOS, "note: the lines have numbers from 0"),
    "teachable-machine": (
        ("Cat", "Dog", "Bird"),
        "note: the lines have numbers from 0, which the names leave out; line 1, '0 Cat', is the class 'Cat'",
    ),
    "too-few": (None, "expected 3 classes, one for each output of the model, got 2"),
    "too-many": (None, "expected 3 classes, one for each output of the model, got 4"),
    "trailing-blank-lines": (PLANTS, ""),
    "trailing-spaces-tabs": (GATOS, ""),
    "utf16-be-bom": (PLANTS, "note: is UTF-16 text"),
    "utf16-le-bom": (PLANTS, "note: is UTF-16 text"),
    "utf16-no-bom-ascii": (None, "got UTF-16LE without a byte order mark. .*iconv -f UTF-16LE "),
    "utf32": (None, "got UTF-32. .*iconv -f UTF-32 "),
    "vertical-tab": (("cat\x0bx", "dog", "bird"), "warning: line 1: .*U.000B"),
    "zero-width": (("cat\u200b", "dog", "bird"), "warning: line 1: .*U.200B"),
}
"""Of each classes file for a model of three outputs: its names, or None if it is refused; a pattern."""

Values = dict[str, tuple[float, float, float]]
THRESHOLDS: dict[str, tuple[Values | None, str]] = {
    "accent-missing": (None, "line 2: the class 'Cempasuchil hoja' .*; did you mean 'Cempasúchil hoja'.$"),
    "arabic-digits": (LAST, ""),
    "blank-first-line": (THREE, ""),
    "bom": (THREE, ""),
    "case-differs": (None, "line 2: the class 'maguey flor' .*; did you mean 'Maguey flor'.$"),
    "comma-with-quoted-decimal-comma": (FIRST, "note: is read with decimal commas"),
    "comment-line": (None, "line 1: expected 6 cells, got 1. Delete the lines before the header"),
    "correct-as-98": (None, "line 2, correct_percentage: .* got '98'. Did you mean 0.98.$"),
    "cp1252": (None, "line 2. .* the line reads 'Cempasúchil hoja,0.9,.*iconv -f WINDOWS-1252 "),
    "cr-only": (THREE, ""),
    "crlf": (THREE, ""),
    "decimal-comma-unquoted": (None, "line 2: expected 6 cells, got 11. Decimal commas need semicolons"),
    "duplicate-rows": (None, "line 3: the file has a second row for the class 'Cempasúchil hoja'"),
    "empty-cells": (EMPTY, "note: an empty cell in the row of Maguey flor counts as -1"),
    "empty": (None, "line 1: expected 6 cells, got 0. Write class,top1"),
    "excel-es-semicolon-decimal-comma": (None, "line 2. .*'Cempasúchil hoja;0,9;.*iconv -f WINDOWS-1252 "),
    "excel-es-utf8-bom": (THREE, "note: is read with semicolons between the cells, decimal commas"),
    "extra-column": (None, "line 1: expected 6 cells, got 7. Delete the columns after correct_percentage"),
    "five-column-header-and-rows": (None, "line 1: expected 6 cells, got 5. Write class,top1"),
    "five-columns": (None, "line 2: expected 6 cells, got 5. Write class,top1"),
    "header-missing": (None, "line 1: expected the header, got a class's row"),
    "header-only-bom-crlf": ({}, ""),
    "header-only": ({}, ""),
    "header-other-order-spanish": (
        None,
        "line 1: .*, got maximo1 before minimo1, and maximo1 is higher in every row",
    ),
    "header-other-order": (None, "line 1: expected top1_minval, got top1_maxval"),
    "header-quoted": (FIRST, ""),
    "header-spaces": (FIRST, ""),
    "header-spanish": (THREE, ""),
    "header-uppercase": (FIRST, ""),
    "html-download": (None, "got a web page. Download the file itself"),
    "index-as-class": (None, "line 2: the class '0' .* Write the class's name instead of its number"),
    "inf": (None, "line 2, top1_minval: expected a number from 0 to 1, got 'inf'"),
    "latin1": (
        None,
        "line 2. .*iconv -f WINDOWS-1252 .*/thresholds-latin1.csv > .*and set INFERENCE_THRESHOLDS_FILE",
    ),
    "min-above-max": (
        {PLANTS[2]: (0.95, 0.2, 1.0)},
        "warning: top1_minval is above top1_maxval in the row of Maguey flor",
    ),
    "missing-class": (FIRST, ""),
    "na-words": (EMPTY, "note: an empty cell in the row of Maguey flor"),
    "nan": (EMPTY, "note: an empty cell in the row of Maguey flor"),
    "negative": (None, "line 2, top1_minval: expected a number from 0 to 1, got '-0.5'"),
    "nfd-name": ({PLANTS[0]: (0.8, 0.2, 1.0)}, ""),
    "nul": (None, "got a NUL byte in line 2"),
    "numbers-with-leading-apostrophe": (None, "line 2, top1_minval: .*Did you mean 0.8.$"),
    "other-order": (THREE, ""),
    "pandas-index": (None, "line 1: expected 6 cells, got 7. Delete the column without a name"),
    "percent-0-100": (None, "line 2, top1_minval: .* got '80'. Did you mean 0.8.$"),
    "percent-sign": (LAST, "note: is read with percent signs"),
    "plain": (THREE, ""),
    "quote-newline": (None, r"line 2: the class 'Maguey\\nflor' .*; did you mean 'Maguey flor'"),
    "quoted-name-comma": (None, "line 2: the class 'Rosa, roja' is not in the classes file. Add the class"),
    "sci": (LAST, ""),
    "semicolon-dot": (THREE, "note: is read with semicolons between the cells"),
    "sep-comma-line": (THREE, ""),
    "sep-line": (FIRST, "note: is read with semicolons between the cells"),
    "spaces-in-cells": (LAST, ""),
    "tabs": (THREE, "note: is read with tabs between the cells"),
    "thousand": (None, "line 2, top1_minval: .* got '1.000,8'. Write a number"),
    "top1min-above-1": (None, "line 2, top1_minval: .* got '1.5'. Write a number"),
    "trailing-blank-lines": (THREE, ""),
    "trailing-comma-rows": (FIRST, ""),
    "two-columns": (None, "got 2. For a threshold T of a class, write `class,T,,,,1`"),
    "unclosed-quote": (None, "line 2: expected 6 cells, got 1. Close the quote"),
    "underscore-number": (None, "line 2, top1_minval: .* got '0_8'. Did you mean 0.8.$"),
    "unknown-class": (None, "line 2: the class 'Tulipán flor' is not in the classes file. Add the class"),
    "utf16": (THREE, "note: is UTF-16 text"),
    "xlsx": (None, "got a document of an office program"),
}
"""Of each thresholds file for `PLANTS`: its values, or None if it is refused; a pattern of the text."""


def settings(path: Path) -> Settings:
    """Settings with this file, and a good file of the other kind."""
    if path.suffix == ".csv":
        return Settings(classes_file=CASES / "classes-plain-lf.txt", thresholds_file=path)
    return Settings(classes_file=path, thresholds_file=CASES / "thresholds-header-only.csv")


def remarks_of(path: Path) -> tuple[Remark, ...]:
    return (
        read_thresholds_file(path, PLANTS).remarks
        if path.suffix == ".csv"
        else read_classes_file(path).remarks
    )


def read(path: Path) -> tuple[str, ...] | Values:
    if path.suffix == ".csv":
        file = read_thresholds_file(path, PLANTS)
        return {name: (each.top1_min, each.top2_max, each.correct) for name, each in file.thresholds.items()}
    classes = read_classes(path)
    check_class_count(3, classes, path)
    return classes


def checked(path: Path) -> Report:
    """The report of `check` about the label files."""
    report = Report()
    _check_thresholds(report, settings(path), _check_classes(report, settings(path), None))
    return report


TABLE = {f"classes-{name}.txt": each for name, each in CLASSES.items()} | {
    f"thresholds-{name}.csv": each for name, each in THRESHOLDS.items()
}


def test_every_case_has_its_right_end() -> None:
    assert {each.name for each in CASES.iterdir()} == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_a_label_file_is_read_rightly_or_refused_with_help(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected, text = TABLE[name]
    path = CASES / name
    if expected is None:
        with pytest.raises(ModelError, match=text) as refused:
            read(path)
        assert "\n" not in str(refused.value)
        faults = [each.text for each in checked(path).findings if each.kind == "fault"]
        # Without a model, `check` cannot count.
        assert faults == [str(refused.value)] or (not faults and "one for each output" in str(refused.value))
        return
    assert read(path) == expected
    remarks = remarks_of(path)
    found = [re.sub(r"^.*/cases/labels/[\w.-]+\W+", f"{each.kind}: ", each.text) for each in remarks]
    assert re.match(text, found[0]) if text else not found
    # The worker's log and `check` have the same lines.
    with caplog.at_level(logging.INFO):
        _read_label_files(settings(path))
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ({"note": "INFO", "warning": "WARNING"}[each.kind], each.text) for each in remarks
    ]
    findings = [(each.kind, each.text) for each in checked(path).findings]
    assert {(each.kind, each.text) for each in remarks} <= set(findings)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("0 zero\n1 one\n2 two", ("zero", "one", "two"), id="spaces"),
        pytest.param("0. a\n1. b", ("a", "b"), id="points"),
        pytest.param("0) a\n1) b", ("a", "b"), id="brackets"),
        pytest.param("0 - a\n1 - b", ("a", "b"), id="hyphens"),
        pytest.param("0;a\n1;b", ("a", "b"), id="semicolons"),
        pytest.param('"0","a"\n"1","b"', ("a", "b"), id="quoted cells"),
        pytest.param('0,"a, c"\n1,b', ("a, c", "b"), id="quotes where needed"),
        pytest.param('"a",\n"b",', ("a", "b"), id="quotes and commas"),
        pytest.param("'it''s'\n'b'", ("it's", "b"), id="doubled quotes"),
        pytest.param(
            "\n".join(f"{n} c{n}" for n in range(12)), tuple(f"c{n}" for n in range(12)), id="twelve"
        ),
        pytest.param("0\n1\n2", ("0", "1", "2"), id="digits as names"),
        pytest.param("0,0\n1,1", ("0", "1"), id="numbered digits"),
        pytest.param("0 a\nb", ("0 a", "b"), id="one line without a number"),
        pytest.param("0 mm\n1 mm", ("0 mm", "1 mm"), id="equal without numbers"),
        pytest.param("0.5 mm\n1.5 m", ("0.5 mm", "1.5 m"), id="decimals"),
        pytest.param("1 Euro\n2 Euros", ("1 Euro", "2 Euros"), id="numbers from 1"),
        pytest.param('"a"\nb', ('"a"', "b"), id="one name with quotes"),
        pytest.param("a;\nb", ("a;", "b"), id="one name with a semicolon"),
        pytest.param("[other]\na", ("[other]", "a"), id="a bracket"),
        pytest.param("(a)\n(b)", ("(a)", "(b)"), id="names in brackets"),
    ],
)
def test_signs_are_left_out_only_where_every_line_has_them(text: str, names: tuple[str, ...]) -> None:
    assert parse_classes(text, "classes.txt").names == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,cat\n0,dog", "line 1: expected the number 0, got 1. Sort the lines by number"),
        ("cat,0\ndog,2\nbird,1", "line 2: expected the number 1, got 2"),
        ("id,label\n0,cat\n1,dog", "line 1: expected the number 0 and a class name, got 'id,label'. Delete"),
    ],
)
def test_numbers_in_another_order_are_refused(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_classes(text, "classes.txt")


def test_many_warnings_are_counted() -> None:
    remarks = parse_classes("\n".join(f"c{n}\u200b" for n in range(50)), "classes.txt").remarks
    assert len(remarks) == 11 and remarks[-1] == Remark("warning", "and 40 more lines")


@pytest.mark.parametrize("name", ["latin1", "macroman", "utf16-no-bom-ascii", "utf32"])
def test_the_command_in_a_refusal_converts_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "class names.txt"
    path.write_bytes((CASES / f"classes-{name}.txt").read_bytes())
    with pytest.raises(ModelError) as refused:
        read_classes(path)
    command = str(refused.value).split("`")[1]
    if name == "macroman":  # The refusal names this encoding too.
        command = command.replace("WINDOWS-1252", "MACINTOSH")
    subprocess.run(command, shell=True, check=True)
    assert read_classes(tmp_path / "class names-utf8.txt") == (GATOS if "ascii" in name else PLANTS)


NFD = "Cempasu\u0301chil hoja"


def test_names_are_compared_in_nfc_and_shown_as_in_the_classes_file(tmp_path: Path) -> None:
    for own, other in ((PLANTS[0], NFD), (NFD, PLANTS[0])):
        classes = (own, "b")
        table = tmp_path / "thresholds.csv"
        table.write_text(f"{','.join(header({}))}\n{other},0.9,1,0,0.5,0.8\n")
        assert list(read_thresholds_file(table, classes).thresholds) == [own]
        (tmp_path / own / other).mkdir(parents=True)
        (tmp_path / own / other / "1.jpg").touch()
        assert [each.truth for each in from_folders(tmp_path / own, classes)] == [0]
        labels = tmp_path / "labels.csv"
        labels.write_text(f"file,label\n1.jpg,{other}\n")
        assert [each.truth for each in from_table(labels, tmp_path, classes)] == [0]


@pytest.mark.parametrize("label", ["Cat", "0 Cat", "0,Cat", "'Cat'", ' "0 Cat" '])
def test_a_label_with_the_signs_of_the_classes_file_is_found(label: str) -> None:
    assert ClassLookup(("Cat", "Dog")).find(label) == 0


@pytest.mark.parametrize("label", ["1 Cat", "cat", "2 Bird", "Cat 0", ""])
def test_another_label_is_not_found(label: str) -> None:
    assert ClassLookup(("Cat", "Dog")).find(label) is None


def test_a_table_of_labels_names_the_command_that_converts_it(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("file,label\n1.jpg,Ñandú pluma\n".encode("latin-1"))
    with pytest.raises(CalibrationError, match=r"--labels: .*line 2\. .*iconv -f WINDOWS-1252"):
        from_table(tmp_path / "labels.csv", tmp_path, PLANTS)


@pytest.mark.parametrize("text", ["['a', 'it\\'s']", "{'a': 0, \"it's\": 1}", "{0: 'a', 1: \"it's\"}"])
def test_python_lists_become_class_names(text: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(text)
    assert read_class_names(tmp_path / "names.txt").names == ["a", "it's"]


def test_every_list_that_is_refused_can_be_converted() -> None:
    for name in ("json-dict", "json-list", "json-list-lines", "python-list"):
        assert read_class_names(CASES / f"classes-{name}.txt").names == list(PETS)


@pytest.mark.parametrize(
    "text", ["['a' 'b']", "[a, b]", "{'a'", "[" * 100_000, "['" + "a" * 1_000_000 + "']"]
)
def test_what_is_no_python_list_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(NamesError, match=r"invalid JSON|expected commas between the names"):
        read_class_names(tmp_path / "names.txt")


FORMS = {
    "a spreadsheet's": lambda text: (
        "\ufeffsep=;\r\n" + text.replace(",", ";").replace("0.", "0,").replace("\n", "\r\n")
    ),
    "UTF-16": lambda text: text,
    "tabs": lambda text: text.replace(",", "\t"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_calibrated_file_keeps_its_provenance_in_a_spreadsheet(form: str, tmp_path: Path) -> None:
    origin = {"model": "0a1b" * 16, "precision": "float32"}
    text = f"{','.join(header(origin))}\nCempasúchil hoja,0.9,0.99,0.1,0.4,0.8\n"
    path = tmp_path / "thresholds.csv"
    path.write_bytes(FORMS[form](text).encode("utf-16" if form == "UTF-16" else "utf-8"))
    assert read(path) == FIRST and read_provenance(path) == origin
    assert provenance_warnings(path, origin) == []
    (warning,) = provenance_warnings(path, origin | {"precision": "bfloat16"})
    assert "expected thresholds for precision bfloat16, got thresholds for precision float32" in warning


def test_scores_outside_0_to_1_are_read_from_a_calibrated_file_only(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.csv"
    for origin, values in (({"model": "0a1b"}, {PLANTS[0]: (7.3, -2.5, 0.8)}), ({}, None)):
        path.write_text(f"{','.join(header(origin))}\nCempasúchil hoja,7.3,9.1,-6,-2.5,0.8\n")
        if values:
            assert (read(path), remarks_of(path)) == (values, ())
            continue
        with pytest.raises(ModelError, match=r"line 2, top1_minval: .* from 0 to 1, got '7\.3'"):
            read(path)


def test_a_class_that_can_never_be_accepted_is_logged(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.csv"
    path.write_text(f"{','.join(header({}))}\nMaguey flor,1.0000,0.9,0.1,1.0000,0.5\n")
    text = "Maguey flor can never be accepted: the threshold is 1, and no score exceeds 1"
    assert remarks_of(path) == (Remark("warning", text),)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"%PDF-1.7\n", "got a PDF document. Save it as plain text"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "got a document of an office program. Save it"),
        (b"\n<html><body>", "got a web page. Download the file itself"),
        (b"\x89HDF\r\n\x1a\n", "got an HDF5 file, such as a model"),
        (b"\x1f\x8b\x08\0", "got a gzip archive. Unpack it with gunzip"),
        (b"\x80\x04\x95", "got a pickle. Run `classification-server classes"),
        (b"\xff\xfea\0\0\xd8", "expected UTF-16 text because of the byte order mark, got damaged text"),
        (b"\xff\xfea\0\0\0", "got NUL characters"),
        (b"\0a\0\n\0b", "got UTF-16BE without a byte order mark"),
    ],
)
def test_another_kind_of_file_is_named(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(data)
    with pytest.raises(ModelError, match=f"INFERENCE_CLASSES_FILE: .* can't be read: .*{message}"):
        read_classes(tmp_path / "classes.txt")


def test_a_class_may_have_the_name_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "thresholds.csv").write_text(f"{','.join(header({}))}\nclass,0.9,1,0,0.5,0.8\n")
    assert list(read_thresholds_file(tmp_path / "thresholds.csv", ("class", "b")).thresholds) == ["class"]
