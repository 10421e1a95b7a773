"""The journal and the outputs of a run over a folder, without a server."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from PIL import Image

from cli import CommandError
from cli.classify import answer_tables, contact_sheet
from cli.classify.journal import Journal
from cli.classify.summary import Summary
from cli.progress import progress

REQUEST = {"folder": "/photos", "regions": None, "top_n": 1, "model": "m", "thresholds": "t"}


def prediction(name: str, score: float, threshold: float | None = 0.5) -> dict[str, Any]:
    return {"class": name, "score": score, "accepted": score > (threshold or 0), "threshold": threshold}


def result(*predictions: dict[str, Any], region: list[int] | None = None) -> dict[str, Any]:
    return {"result": {"regions": [{"region": region, "predictions": list(predictions)}]}}


HOSTILE = 'sub/=1+1,"<b>\udcff ñ\n&.jpg'
"""A name with special characters of all formats, and a byte that is not UTF-8."""

RECORDS = [
    {"file": "a.jpg", **result(prediction("Rosa canina flos", 0.9), prediction("Ulmus", 0.1, None))},
    {"file": "b.txt", "error": {"code": "415", "detail": "the file is no image"}},
    {"file": HOSTILE, **result(prediction("<i>Ulmus</i>", 0.25), region=[1, 2, 30])},
]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "out.csv.journal", REQUEST)


def again(journal: Journal, **changed: Any) -> Journal:
    journal.close()
    return Journal(journal.path, REQUEST | changed)


def test_another_run_continues_the_journal(journal: Journal) -> None:
    for name in ("b", "a", HOSTILE):
        journal.submitted(name, f"job-{name}")
    journal.ended("b", {"result": 1})
    journal.ended(HOSTILE, {"error": {"code": "415"}})
    journal = again(journal)
    assert journal.jobs == {"a": "job-a"}
    assert list(journal.done) == ["b", HOSTILE]
    journal.ended("a", {"result": 2})
    records = [(each["file"], each.get("result")) for each in again(journal).records()]
    assert records == [("a", 2), ("b", 1), (HOSTILE, None)]


def test_an_incomplete_line_is_removed(journal: Journal) -> None:
    journal.ended("a", {"result": 1})
    whole = journal.path.read_bytes()
    journal.ended("b", {"result": 2})
    journal.path.write_bytes(journal.path.read_bytes()[:-3])
    journal = again(journal)
    assert list(journal.done) == ["a"] and journal.path.read_bytes() == whole
    journal.ended("c", {"result": 3})
    assert [each["file"] for each in again(journal).records()] == ["a", "c"]


def test_a_journal_with_an_incomplete_first_line_begins_again(journal: Journal) -> None:
    journal.path.write_bytes(b'{"asked":{"fol')
    again(journal)
    assert json.loads(journal.path.read_text()) == {"asked": REQUEST}


def test_a_journal_without_a_precision_is_continued(journal: Journal) -> None:
    """Older versions wrote no precision."""
    journal.ended("a", {"result": 1})
    assert list(again(journal, precision="float32").done) == ["a"]


def test_a_run_with_another_precision_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "j", REQUEST | {"precision": "float32"}).close()
    with pytest.raises(CommandError, match=r"with another precision \(before: float32, now: tf32\)"):
        Journal(tmp_path / "j", REQUEST | {"precision": "tf32"})


@pytest.mark.parametrize(("name", "value"), [("top_n", 2), ("model", "other"), ("folder", "/x")])
def test_a_run_with_another_request_is_refused(journal: Journal, name: str, value: Any) -> None:
    with pytest.raises(CommandError, match=f"with another {name} .*--restart"):
        again(journal, **{name: value})


def test_two_runs_do_not_write_one_journal(journal: Journal) -> None:
    with pytest.raises(CommandError, match="is in use by another run"):
        Journal(journal.path, REQUEST)


@pytest.mark.parametrize("text", ["file,class\na,b\n", "[]\n", '{"asked": 1}\n', '{"x": 1}\n'])
def test_a_file_that_is_no_journal_is_not_changed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "answers"
    path.write_text(text)
    with pytest.raises(CommandError, match="is not a journal"):
        Journal(path, REQUEST)
    assert path.read_text() == text


def test_a_journal_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be written: No such file"):
        Journal(tmp_path / "nowhere" / "journal", REQUEST)


def test_csv_has_a_row_for_each_prediction(tmp_path: Path) -> None:
    answer_tables.write(tmp_path / "out.csv", RECORDS)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.reader(file))
    assert rows == [
        list(answer_tables.COLUMNS),
        ["a.jpg", "", "", "", "1", "Rosa canina flos", "0.9", "true", "0.5", ""],
        ["a.jpg", "", "", "", "2", "Ulmus", "0.1", "true", "", ""],
        ["b.txt", "", "", "", "", "", "", "", "", "the file is no image"],
        [HOSTILE, "1", "2", "30", "1", "<i>Ulmus</i>", "0.25", "false", "0.5", ""],
    ]
    assert [each.name for each in tmp_path.iterdir()] == ["out.csv"]


def test_json_lines_have_a_line_for_each_photo(tmp_path: Path) -> None:
    answer_tables.write(tmp_path / "out.jsonl", RECORDS)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [each["file"] for each in lines] == ["a.jpg", "b.txt", HOSTILE]
    assert lines[0]["regions"] == RECORDS[0]["result"]["regions"]
    assert lines[1]["error"] == {"code": "415", "detail": "the file is no image"}


def test_parquet_has_the_rows_with_their_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_tables, "ROWS_AT_ONCE", 3)
    answer_tables.write(tmp_path / "out.parquet", RECORDS)
    file = pyarrow.parquet.ParquetFile(tmp_path / "out.parquet")
    rows = file.read().to_pylist()
    assert file.num_row_groups == 2 and list(rows[0]) == list(answer_tables.COLUMNS)
    assert [each["score"] for each in rows] == [0.9, 0.1, None, 0.25]
    assert [each["accepted"] for each in rows] == [True, True, None, False]
    assert rows[3]["side"] == 30 and rows[3]["file"] == HOSTILE.replace("\udcff", "�")


def test_without_pyarrow_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(
        CommandError, match=r"run pip install '\.\[parquet\]' in a clone of the project; or name a \.csv file"
    ):
        answer_tables.check(Path("out.parquet"))
    answer_tables.check(Path("out.csv"))


def test_an_unknown_extension_is_refused() -> None:
    with pytest.raises(
        CommandError, match=r"expected one of the extensions \.csv, \.jsonl, \.parquet, got out\.xlsx"
    ):
        answer_tables.check(Path("out.xlsx"))


def test_without_a_terminal_progress_is_printed_as_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.progress.LINE_SECONDS", 0)
    with progress("photos", 10, done=4) as advance:
        advance(1)
        advance(2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and re.fullmatch(
        r"classification-server: photos: 7 of 10, [\d.]+/s, \d+ s left", lines[1]
    )
    with progress("photos", 10, quiet=True) as advance:
        advance(1)
    assert capsys.readouterr().err == ""


def page(folder: Path, records: list[dict[str, Any]]) -> str:
    summary = Summary()
    for record in records:
        summary.add(record)
    contact_sheet.write(folder.parent / "contact_sheet.html", folder, records, summary, lambda count: None)
    return (folder.parent / "contact_sheet.html").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos; one needs rotation by its EXIF orientation."""
    folder = tmp_path / "Fotos <i>"
    (folder / "sub").mkdir(parents=True)
    Image.new("RGB", (600, 400), "red").save(folder / "a.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (600, 400), "red").save(folder / HOSTILE, exif=exif)
    return folder


def test_the_sheet_escapes_names(folder: Path) -> None:
    text = page(folder, RECORDS)
    assert "<b>" not in text.replace('<b class="', "") and "<i>Ulmus" not in text and "Fotos <i>" not in text
    assert "&lt;b&gt;� ñ" in text and "&lt;i&gt;Ulmus&lt;/i&gt;" in text
    assert 'href="Fotos%20%3Ci%3E/sub/%3D1%2B1%2C%22%3Cb%3E%FF%20%C3%B1%0A%26.jpg"' in text
    assert "http" not in text.replace("http-equiv", "")


def test_the_sheet_shows_thumbnails_upright_and_regions_in_the_photos_pixels(folder: Path) -> None:
    text = page(folder, RECORDS)
    assert text.count('src="data:image/jpeg;base64,') == 2 and text.count("no picture") == 1
    assert '<svg viewBox="0 0 400 600" aria-hidden="true"><rect x="1" y="2" width="30" height="30"/>' in text
    upright = contact_sheet.make_thumbnail(folder / HOSTILE)
    assert (upright.width, upright.height) == (400, 600)
    assert Image.open(io.BytesIO(upright.jpeg)).size == (213, 320)
    assert [text.count(f'data-state="{each}"') for each in ("accepted", "not-accepted", "failed")] == [
        1,
        1,
        1,
    ]


def test_with_many_photos_the_thumbnails_are_beside_the_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "MAX_EMBEDDED", 1)
    text = page(folder, RECORDS)
    assert 'src="contact_sheet_files/000000.jpg"' in text and "data:image" not in text
    beside = folder.parent / "contact_sheet_files" / "000000.jpg"
    assert max(Image.open(beside).size) == contact_sheet.THUMBNAIL_PIXELS


def test_the_summary_counts_classes_and_names_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary()
    for record in RECORDS:
        summary.add(record)
    summary.show(3, 1.5, [Path("out.csv")])
    text = capsys.readouterr().out
    assert "3 photos: 2 answers, 1 accepted, 1 not accepted; 1 without an answer" in text
    assert "b.txt: the file is no image" in text and "2.0 photos/s" in text and "written: out.csv" in text
    assert "\x1b" not in text
