"""`classification-server classify` on the real service: folders, interruptions, pages in a browser."""

import csv
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet
import pytest

import demo
from cli.classify import contact_sheet
from cli.classify.folder_run import FolderRun
from cli.main import main
from tests.browser import CHROMIUM, needs_chromium
from tests.stack import ROOT, Stack, eventually

SPECIES = ["nullus", "unus", "duo", "tres", "quattuor", "quinque", "sex", "septem", "octo", "novem"]
HOSTILE = '<img src=x onerror=alert(1)> "&.jpg'
MANY = 300


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photos(here: Path) -> Path:
    """Two digits (one with HTML as its name), a text and a damaged image, some in subfolders."""
    folder = here / "photos"
    (folder / "inner" / "deep").mkdir(parents=True)
    shutil.copy(demo.SAMPLES / "digits" / "3.png", folder / "inner" / "deep" / "3.png")
    shutil.copy(demo.SAMPLES / "siete.jpg", folder / HOSTILE)
    (folder / "inner" / "notes.jpg").write_text("no photo")
    (folder / "inner" / "README.md").write_text("# No photo")
    (folder / "cut.jpg").write_bytes((demo.SAMPLES / "siete.jpg").read_bytes()[:2000])
    (folder / ".hidden.jpg").write_bytes(b"x")
    (folder / "cut.jpg.json").write_text("{}")
    return folder


@pytest.fixture
def many(here: Path) -> Path:
    """Many digits in subfolders."""
    folder = here / "many"
    for number in range(MANY):
        inner = folder / f"part {number % 7}"
        inner.mkdir(parents=True, exist_ok=True)
        shutil.copy(demo.SAMPLES / "digits" / f"{number % 10}.png", inner / f"{number:03}-{number % 10}.png")
    return folder


def classify(stack: Stack, folder: Path, *options: str) -> int:
    return main(["classify", str(folder), "--url", stack.url, "--quiet", *options])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_becomes_a_table(stack: Stack, photos: Path, here: Path) -> None:
    assert classify(stack, photos) == 1
    found = {row["file"]: row for row in rows(here / "photos.csv")}
    assert sorted(found) == sorted([HOSTILE, "cut.jpg", "inner/deep/3.png", "inner/notes.jpg"])
    assert found["inner/deep/3.png"]["class"] == "Digitus tres niger"
    assert found[HOSTILE]["class"] == "Digitus septem albus" and found[HOSTILE]["accepted"] == "true"
    assert float(found[HOSTILE]["score"]) > 0.99 and found[HOSTILE]["threshold"] == "0.5"
    assert "not an image" in found["inner/notes.jpg"]["error"] and "damaged" in found["cut.jpg"]["error"]
    assert sorted(os.listdir(here)) == ["photos", "photos.csv"]


def test_files_of_other_types_are_skipped_and_reported(
    stack: Stack, photos: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", str(photos), "--url", stack.url]) == 1
    assert "files left out because they are no photos: 1 .json, 1 .md\n" in capsys.readouterr().err
    (here / "texts").mkdir()
    (here / "texts" / "a.TXT").touch()
    (here / "texts" / "b.md").write_text("# No photo")
    assert main(["classify", "texts", "--url", stack.url]) == 2
    assert "there are no photos in texts, only 1 .txt, 1 .md" in capsys.readouterr().err


def test_all_formats_have_the_same_content(stack: Stack, photos: Path, here: Path) -> None:
    options = ("--top-n", "2", "--regions", "0, 0, 100; 10,10,80")
    for name in ("out.csv", "out.jsonl", "out.parquet"):
        assert classify(stack, photos, *options, "--output", name) == 1
    table = rows(here / "out.csv")
    assert len(table) == 2 * 4 + 2
    columns = pyarrow.parquet.read_table(here / "out.parquet").to_pylist()
    lines = [json.loads(line) for line in (here / "out.jsonl").read_text().splitlines()]
    assert [each["file"] for each in lines] == sorted({row["file"] for row in table})
    expected = [(row["file"], row["side"], row["class"], row["score"]) for row in table if row["class"]]
    assert expected == [
        (r["file"], str(r["side"]), r["class"], str(r["score"])) for r in columns if r["class"]
    ]
    assert expected == [
        (line["file"], str(region["region"][2]), each["class"], str(each["score"]))
        for line in lines
        for region in line.get("regions", ())
        for each in region["predictions"]
    ]
    assert [r["error"] for r in columns if r["error"]] == [
        x["error"]["detail"] for x in lines if "error" in x
    ]


def test_a_folder_whose_photos_all_have_answers_ends_with_0(stack: Stack, here: Path) -> None:
    assert classify(stack, demo.SAMPLES / "digits", "--output", "digits.jsonl") == 0
    shutil.copytree(demo.SAMPLES / "digits", here / "d")
    # The output in the folder is not classified.
    for _ in range(2):
        assert classify(stack, here / "d", "--output", "d/out.csv", "--html", "d/out.html") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["nowhere"], "nowhere is not a folder", id="no folder"),
        pytest.param(["empty"], "there are no photos in empty", id="no photos"),
        pytest.param(["empty", "--output", "out.xls"], "extensions .csv, .jsonl, .parquet", id="extension"),
        pytest.param(["empty", "--output", "no/out.csv"], "there are no photos", id="no photos, no place"),
        pytest.param(["empty", "--html", "no/out.html"], "no is not a folder", id="no place for the page"),
        pytest.param(["empty", "--url", "http://127.0.0.1:9"], "cannot be used: ", id="no server"),
        pytest.param(["empty", "--key", "ñ"], "expected printable ASCII", id="no key"),
        pytest.param(["empty", "--url", "localhost:8001"], "such as http://localhost:8001", id="no address"),
    ],
)
def test_what_the_user_must_fix_ends_with_2(
    stack: Stack, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("cli.classify.folder_run.CONNECT_SECONDS", 0.1)
    (here / "empty").mkdir()
    url = [] if "--url" in arguments else ["--url", stack.url]
    assert main(["classify", *arguments, *url]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("text", ["hello", "[]", '{"model": "x"}'])
def test_a_server_of_another_kind_is_reported(
    here: Path, photos: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (here / "cfg").write_text(text)
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01}).start()
        assert main(["classify", "photos", "--url", f"http://127.0.0.1:{other.server_port}"]) == 2
        other.shutdown()
    assert "answers, but is not a classification-server" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model", "precision"])
def test_answers_of_two_models_or_precisions_are_not_mixed(
    name: str,
    stack: Stack,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = FolderRun._request
    with monkeypatch.context() as changed:
        changed.setattr(FolderRun, "_request", lambda run: request(run) | {name: "another"})
        assert classify(stack, photos) == 2
    assert f"the server's {name} changed during the run" in capsys.readouterr().err
    assert classify(stack, photos) == 2
    assert f"unfinished run with another {name}" in capsys.readouterr().err
    assert classify(stack, photos, "--restart") == 1


@pytest.mark.parametrize("wrong", [["--regions", "1,2"], ["--top-n", "0"], ["--regions", "1,2,3;;4,5,6"]])
def test_a_wrong_option_ends_with_2(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["classify", ".", *wrong])
    assert ended.value.code == 2


class Run:
    """The command as a process."""

    def __init__(self, here: Path, *arguments: str, **environ: str) -> None:
        self.journal = here / "many.csv.journal"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "classify", "many", *arguments],
            cwd=here,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self) -> int:
        """Return the number of photos that are done."""
        return self.journal.read_text().count('"result"') if self.journal.exists() else 0

    def wait_ended(self, count: int) -> None:
        eventually(lambda: self.ended() >= count or self.process.poll() is not None, 30, f"{count} photos")
        assert self.process.poll() is None

    def finish(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def own(here: Path) -> Iterator[Stack]:
    """A service that a test may break."""
    running = Stack(API_KEYS="0123456789abcdef")
    yield running
    running.close()


def test_an_interrupted_run_and_one_whose_connection_breaks_are_continued(
    own: Stack, many: Path, here: Path
) -> None:
    own.start("worker", "worker")
    arguments = ("--url", own.url, "--patience", "1")
    key = {"CLASSIFICATION_SERVER_KEY": "0123456789abcdef"}
    wrong = Run(here, *arguments).finish()
    assert wrong[0] == 2 and "401" in wrong[2] and "API key" in wrong[2]

    eventually(lambda: own.valkey.client.keys("classification:model:*"), 30, "a model is served")
    stopped = Run(here, *arguments, "--in-flight", "2", **key)
    stopped.wait_ended(20)
    stopped.process.send_signal(signal.SIGINT)
    status, _, err = stopped.finish()
    done = stopped.ended()
    assert status == 130 and 20 <= done < MANY
    assert "stopped" in err and f"{done} of {MANY} photos are done." in err
    assert "Run the same command to continue." in err.splitlines()[-1]
    assert not (here / "many.csv").exists()

    broken = Run(here, *arguments, "--in-flight", "2", **key)
    broken.wait_ended(done + 20)
    broken.process.send_signal(signal.SIGSTOP)  # otherwise it may finish before the gateway stops
    own.gateway.terminate()
    own.gateway.wait(60)
    broken.process.send_signal(signal.SIGCONT)
    status, _, err = broken.finish()
    assert status == 1 and f"continuing an earlier run: {done} of {MANY} photos are done" in err
    assert "Run the same command to continue." in err.splitlines()[-1] and broken.ended() < MANY

    own.start("gateway", "gunicorn", "-c", "python:gateway.gunicorn_conf", "gateway.app:create_app()")
    again = Run(here, "--url", own.url, **key)
    status, out, err = again.finish()
    assert status == 0 and f"{MANY} photos: {MANY} answers" in out, err
    assert "\x1b" not in out + err
    check_all(here / "many.csv")
    assert not again.journal.exists()
    # A photo may be sent again only if the answer to its form was never read.
    assert MANY <= own.valkey.client.zcard("rq:finished:bulk") <= MANY + 4


def check_all(path: Path) -> None:
    """Check that every photo is in the table once, with its own answer."""
    found = rows(path)
    assert sorted(int(row["file"].split("/")[1][:3]) for row in found) == list(range(MANY))
    assert all(row["class"].split()[1] == SPECIES[int(row["file"][-5])] for row in found)


def test_without_a_server_one_is_started_and_stopped(many: Path, here: Path) -> None:
    run = Run(here, "--html", "many.html", REDIS_URL="redis://nowhere")
    family: list[psutil.Process] = []
    parent = psutil.Process(run.process.pid)
    eventually(lambda: family.extend(parent.children(recursive=True)) or len(family) > 4, 30, "its parts")
    status, out, err = run.finish()
    assert status == 0, err
    assert not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    check_all(here / "many.csv")
    assert "written: many.csv, many.html" in out and "the demo model is served" in err
    counted = Counter(re.findall('data-classes="Digitus ([a-z]+)', (here / "many.html").read_text()))
    assert counted == dict.fromkeys(SPECIES, MANY // 10)


def test_a_terminal_has_a_bar(stack: Stack, many: Path, here: Path) -> None:
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "classify", str(many), "--url", stack.url],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    end = time.monotonic() + 60
    while time.monotonic() < end and select.select([screen], [], [], 30)[0]:
        try:
            shown += os.read(screen, 65536)
        except OSError:  # Linux reports a closed terminal
            break
    os.close(screen)
    assert process.wait(10) == 0
    assert b"\x1b[" in shown and f"/{MANY}".encode() in shown and b"/s" in shown
    assert re.search(rb"\d:\d\d:\d\d", shown), "the time that is left"


@pytest.fixture
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@needs_chromium
def test_the_contact_sheet_sorts_and_filters(
    stack: Stack, photos: Path, here: Path, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "MAX_EMBEDDED", 3)  # so that the thumbnails go to a folder
    shutil.copy(demo.SAMPLES / "tres-regiones.jpg", photos / "z.jpg")
    classify(stack, photos, "--html", "contact_sheet.html")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.goto(f"file://{here / 'contact_sheet.html'}")

    def names() -> list[str]:
        return [text.split("/")[-1] for text in page.locator("article:not([hidden]) h2").all_text_contents()]

    assert names() == [HOSTILE, "cut.jpg", "3.png", "notes.jpg", "z.jpg"]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    loaded = "[...document.images].every((each) => each.complete && each.naturalWidth > 0)"
    assert page.locator("img").count() == 3
    eventually(lambda: page.evaluate(loaded), 10, "thumbnails")
    page.select_option("#sort", "high")
    by_score = page.locator("article").evaluate_all("all => all.map((each) => Number(each.dataset.score))")
    assert by_score == sorted(by_score, reverse=True) and names()[2] == "z.jpg"
    page.select_option("#sort", "class")
    classes = page.locator("article").evaluate_all("all => all.map((each) => each.dataset.classes)")
    assert classes == [*sorted(classes[:3]), "", ""] and len(set(classes)) == 4
    assert set(names()[3:]) == {"cut.jpg", "notes.jpg"}
    page.select_option("#sort", "low")
    assert names()[0] == "z.jpg" and set(names()[3:]) == {"cut.jpg", "notes.jpg"}
    page.select_option("#state", "accepted")
    assert sorted(names()) == ["3.png", HOSTILE] and page.locator("output").text_content() == "2 of 5 photos"
    page.select_option("#class", "Digitus tres niger")
    assert names() == ["3.png"]
    page.click("button")
    eventually(lambda: page.locator("output").text_content() == "all 5 photos", 10, "all shown again")
    page.fill("#max-score", "0.5")
    assert names() == ["z.jpg"]
    page.click("button")
    page.fill("#min-score", "0.9")
    assert sorted(names()) == ["3.png", HOSTILE]
    assert page.locator("article:not([hidden]) p data").first.text_content() == "0.999"  # not quite 1
    page.click("button")
    page.fill("#name", "NOTES")
    assert names() == ["notes.jpg"] and "not an image" in str(
        page.locator("article:not([hidden]) .why").text_content()
    )
    assert messages == []
