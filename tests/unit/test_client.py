"""The Python client against scripted answers, and against a small server that breaks connections."""

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from classification_client import (
    Answer,
    AsyncClient,
    Client,
    JobFailed,
    Outcome,
    Problem,
    TimedOut,
    Unreachable,
    calls,
)
from classification_client.calls import Call, Calls, Pause, Read, Send
from classification_client.photo_stream import PhotoStream
from classification_client.photos import photos

RESULT = {
    "regions": [
        {"region": None, "predictions": [{"class": "a", "score": 0.9, "accepted": True, "threshold": 0.5}]}
    ],
    "model": "m",
    "thresholds": "t",
    "precision": "float32",
}


def answer(status: int = 200, body: Any = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, json=body, request=httpx.Request("GET", "http://x/"))


def drive(call: Call[Any], *answers: Any) -> tuple[Any, list[Any]]:
    """Run a call with scripted answers to its requests; return its result and all its steps."""
    script, steps = iter(answers), []
    try:
        step = next(call)
        while True:
            steps.append(step)
            given = next(script) if isinstance(step, Send) else None
            step = call.throw(given) if isinstance(given, Exception) else call.send(given)
    except StopIteration as end:
        return end.value, steps


def test_an_answer_names_its_precision_if_the_server_does() -> None:
    older = {name: value for name, value in RESULT.items() if name != "precision"}
    assert (Answer.of(RESULT).precision, Answer.of(older).precision) == ("float32", "")


QUEUED = {"jobs": [{"id": "j1", "status": "queued", "href": "/jobs/j1"}]}


def test_refused_requests_are_sent_again_after_retry_after() -> None:
    refusals = [answer(429, {"detail": "full"}, Retry_After="7"), answer(503, {}, Retry_After="3")]
    ids, steps = drive(Calls(60).submit([b"x"], {}), *refusals, answer(202, QUEUED))
    assert ids == ["j1"]
    assert [step.seconds for step in steps if isinstance(step, Pause)] == [7, 3]


def test_a_retried_form_keeps_its_key_and_another_form_has_another_key() -> None:
    _, steps = drive(Calls(60).submit([b"x"], {}), httpx.ReadError("broken"), answer(202, QUEUED))
    first, _, again = steps
    assert first.headers["Idempotency-Key"] == again.headers["Idempotency-Key"]
    _, others = drive(Calls(60).submit([b"x"], {}), answer(202, QUEUED))
    assert others[0].headers["Idempotency-Key"] != first.headers["Idempotency-Key"]


def test_pauses_after_broken_connections_grow() -> None:
    broken = [httpx.ConnectError("no")] * 8
    _, steps = drive(Calls(600).get("/cfg"), *broken, answer(200, {}))
    pauses = [step.seconds for step in steps if isinstance(step, Pause)]
    assert len(pauses) == 8 and 0.1 <= pauses[0] <= 0.2 and 7.5 <= pauses[7] <= 15


def test_without_patience_left_the_last_error_is_raised() -> None:
    with pytest.raises(Unreachable, match="no route"):
        drive(Calls(0).get("/cfg"), httpx.ConnectError("no route"))
    with pytest.raises(Problem) as refused:
        drive(Calls(5).get("/cfg"), answer(429, {"detail": "full"}, Retry_After="60"))
    assert (refused.value.status, refused.value.detail, refused.value.retry_after) == (429, "full", 60)


def test_the_timeout_is_kept_despite_retry_after() -> None:
    later = answer(503, {"detail": "away"}, Retry_After="30")
    with pytest.raises(TimedOut, match=r"no answer before the deadline; the last error: 503 .*away"):
        drive(Calls(60).wait(["j1"], 0.5), later)
    with pytest.raises(TimedOut, match="503"):
        drive(Calls(60).classify(b"x", {}, 0.5), later)


def test_after_a_timeout_the_job_is_canceled_and_errors_of_that_are_ignored() -> None:
    later, steps = answer(503, {"detail": "away"}, Retry_After="30"), []

    def call() -> Call[Any]:
        inner, given = Calls(60).classify(b"x", {}, 0.5), None
        while True:
            steps.append(inner.send(given))
            given = yield steps[-1]

    with pytest.raises(TimedOut, match="no answer before the deadline"):
        drive(call(), answer(202, QUEUED, X_Job_Id="j1"), later, later)
    assert [(step.method, step.path) for step in steps] == [
        ("POST", "/classify"), ("GET", "/jobs/j1"), ("DELETE", "/jobs/j1"),
    ]  # fmt: skip


def test_a_silent_server_does_not_delay_a_timeout() -> None:
    step = Send("GET", "/jobs", wait=20, left=0.5)
    given = step.arguments(30)["timeout"]
    assert (given.connect, given.read) == (1.5, 1.5)
    unbounded = Send("GET", "/jobs", wait=20).arguments(30)["timeout"]
    assert (unbounded.connect, unbounded.read) == (30, 50)


@pytest.mark.parametrize("status", [400, 401, 404, 413, 415, 422, 500])
def test_permanent_errors_are_not_retried(status: int) -> None:
    with pytest.raises(Problem) as refused:
        drive(Calls(60).get("/cfg"), answer(status, {"title": "No", "detail": "it is wrong"}))
    assert str(refused.value) == f"{status} No: it is wrong"


def test_the_errors_of_fields_are_named() -> None:
    body = {"detail": "x", "errors": [{"field": "top_n", "detail": "it is 0, and must be at least 1"}]}
    assert Problem.of(answer(422, body)).fields == {"top_n": "it is 0, and must be at least 1"}


def test_a_proxys_answer_is_a_problem() -> None:
    page = httpx.Response(502, text="<html>", request=httpx.Request("GET", "http://x/jobs"))
    assert str(Problem.of(page)) == "502 Bad Gateway: http://x/jobs gave no reason for the error"


def test_wait_polls_until_all_have_ended_and_keeps_the_order() -> None:
    states = [
        [{"id": "a", "status": "started"}, {"id": "b", "status": "finished", "result": RESULT}],
        [{"id": "a", "status": "failed", "error": {"code": "image-damaged", "detail": "it is damaged"}}],
    ]
    jobs, steps = drive(Calls(60).wait(["a", "b", "a"], None), *(answer(200, {"jobs": s}) for s in states))
    assert [step.params["ids"] for step in steps] == ["a,b", "a"]
    assert [job.id for job in jobs] == ["a", "b", "a"]
    assert jobs[1].result().best.class_name == "a"
    with pytest.raises(JobFailed, match="it is damaged"):
        jobs[0].result()


def test_the_jobs_of_earlier_forms_are_known_if_a_later_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_FORM_IMAGES", 1)
    submitted: list[Any] = []
    call = Calls(60).submit([b"x", b"y"], {}, lambda photo, job_id: submitted.append((photo, job_id)))
    with pytest.raises(Problem, match="415"):
        drive(call, answer(202, QUEUED), answer(415, {"detail": "no image"}))
    assert submitted == [(b"x", "j1")]


class Server:
    """A simulated server with jobs; `status_of` decides the answer to a form by its images."""

    def __init__(self, status_of: Callable[[bytes], int] = lambda image: 202) -> None:
        self.status_of, self.open, self.done = status_of, {}, []
        self.numbers, self.forms, self.most_open, self.most_bytes = itertools.count(), [], 0, 0
        self.forgets: set[str] = set()

    def __call__(self, step: Any) -> Any:
        if isinstance(step, Read):
            try:
                return step.bytes()
            except OSError as error:
                return error
        return self.post(step) if step.method == "POST" else self.get(step.params["ids"].split(","))

    def post(self, step: Send) -> httpx.Response:
        self.forms.append(len(step.images))
        self.most_bytes = max(self.most_bytes, sum(map(len, step.images)))
        for image in step.images:
            if (status := self.status_of(image)) != 202:
                return answer(status, {"title": "No", "detail": "not this one"})
        ids = [f"j{next(self.numbers)}" for _ in step.images]
        self.open |= dict(zip(ids, step.images, strict=True))
        self.most_open = max(self.most_open, len(self.open))
        return answer(202, {"jobs": [{"id": each, "status": "queued"} for each in ids]})

    def get(self, ids: list[str]) -> httpx.Response:
        unknown = [{"id": each, "status": "unknown"} for each in ids if each in self.forgets]
        if unknown:
            return answer(200, {"jobs": unknown})
        ended = [each for each in ids if each in self.open][:5]
        for each in ended:
            del self.open[each]
        self.done += ended
        return answer(200, {"jobs": [{"id": each, "status": "finished", "result": RESULT} for each in ended]})


def outcomes(server: Server, stream: PhotoStream) -> list[Outcome]:
    found: list[Outcome] = []
    while True:
        call, given = stream.next_outcomes(), None
        try:
            while True:
                step = call.throw(given) if isinstance(given, Exception) else call.send(given)
                given = server(step)
        except StopIteration as end:
            if not end.value:
                return found
            found += end.value


def test_jobs_in_flight_are_bounded_and_sources_are_read_when_needed() -> None:
    server, read = Server(), []

    def sources() -> Iterator[bytes]:
        for number in range(300):
            read.append(number)
            assert len(read) <= len(server.done) + 65
            yield b"%d" % number

    found = outcomes(server, PhotoStream(Calls(60), sources(), {}, in_flight=64))
    assert sorted(int(each.source) for each in found) == list(range(300))
    assert server.most_open <= 64 and max(server.forms) == calls.MAX_FORM_IMAGES


def test_forms_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_FORM_BYTES", 100)
    server = Server()
    images = [b"s" * 30] * 10 + [b"l" * 500] + [b"s" * 30] * 10
    assert len(outcomes(server, PhotoStream(Calls(60), images, {}, in_flight=64))) == 21
    assert server.most_bytes == 500 and sorted(server.forms)[-1] == 3


def test_a_refused_photo_does_not_affect_the_others_in_its_form(tmp_path: Path) -> None:
    server = Server(lambda image: 415 if image == b"text" else 202)
    images: list[Any] = [b"%d" % number for number in range(40)]
    images[7] = images[8] = b"text"
    images[20] = tmp_path / "nowhere.jpg"
    found = outcomes(server, PhotoStream(Calls(60), images, {}, in_flight=40))
    wrong = [each for each in found if each.error]
    assert len(found) == 40 and len(wrong) == 3
    assert isinstance(next(each for each in wrong if each.source == images[20]).error, FileNotFoundError)
    assert {each.error.status for each in wrong if isinstance(each.error, Problem)} == {415}


def test_an_error_for_all_photos_is_raised() -> None:
    with pytest.raises(Problem, match="401"):
        outcomes(Server(lambda image: 401), PhotoStream(Calls(60), [b"x", b"y"], {}, in_flight=4))


def test_photos_of_an_earlier_run_are_not_sent_again_unless_their_jobs_are_unknown() -> None:
    server, sent = Server(), []
    server.open, server.forgets = {"old": b"a"}, {"lost"}
    known = {b"a": "old", b"b": "lost"}
    submitted: Callable[[Any, str], None] = lambda source, job_id: sent.append((source, job_id))  # noqa: E731
    stream = PhotoStream(Calls(60), [b"a", b"b", b"c"], {}, in_flight=9, jobs=known, submitted=submitted)
    found = outcomes(server, stream)
    assert sorted(each.source for each in found if each.answer) == [b"a", b"b", b"c"]
    assert sent == [(b"c", "j0"), (b"b", "j1")]


def test_a_photo_whose_job_is_lost_three_times_fails() -> None:
    server = Server()
    server.forgets = {f"j{number}" for number in range(9)}
    (found,) = outcomes(server, PhotoStream(Calls(60), [b"x"], {}, in_flight=1))
    assert isinstance(found.error, JobFailed) and found.error.code == "unknown"
    assert server.forms == [1, 1, 1]


def test_the_photos_of_a_folder_are_its_files_in_order_without_hidden_and_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others = ("b.jpg.json", "a/film.MP4", "a/notes.txt", "a/README.md", "a/LICENSE")
    for name in ("b.jpg", "a/2.HEIC", "a/1", "a/3.xyz", ".hidden.jpg", ".git/x.jpg", *others):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    (tmp_path / "a" / "README.md").write_text("# Not an image")
    (tmp_path / "a" / "LICENSE").write_text("MIT")
    (tmp_path / "a" / "3.xyz").write_bytes(b"\xff\xd8\xff\xe0")
    assert [str(Path(str(each)).relative_to(tmp_path)) for each in photos(tmp_path)] == [
        "a/1",
        "a/2.HEIC",
        "a/3.xyz",
        "b.jpg",
    ]
    left_out = ("1 without extension", "1 .md", "1 .mp4", "1 .txt", "1 .json")
    assert f"no photos left out: {', '.join(left_out)}" in caplog.text
    assert list(photos(b"bytes")) == [b"bytes"] and list(photos("one.jpg")) == ["one.jpg"]


def test_files_larger_than_any_server_accepts_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MAX_IMAGE_BYTES", 10)
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(OSError, match=r"expected at most \d+ MiB"):
        Read(tmp_path / "large").bytes()


class Breaking(BaseHTTPRequestHandler):
    """Breaks the connection of the first request, refuses the second for now, accepts the third."""

    keys: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.keys.append(self.headers["Idempotency-Key"])
        if len(self.keys) == 1:
            self.connection.close()
            return
        self.answer(202 if len(self.keys) == 3 else 503, QUEUED)

    def do_GET(self) -> None:
        job = {"id": "j1", "status": "finished", "result": RESULT}
        self.answer(200, {"jobs": [job]} if "?" in self.path else job)

    def answer(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *unused: Any) -> None:
        pass


@pytest.fixture
def breaking() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that breaks connections, and the keys of the forms that it receives."""
    handler = type("Handler", (Breaking,), {"keys": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.keys
    server.shutdown()
    server.server_close()


def test_broken_connections_are_retried(breaking: tuple[str, list[str]]) -> None:
    url, keys = breaking
    with Client(url) as client:
        (outcome,) = client.map([b"x"])
    assert outcome.result().best.score == 0.9
    assert len(keys) == 3 and len(set(keys)) == 1


def test_broken_connections_are_retried_by_the_async_client(breaking: tuple[str, list[str]]) -> None:
    url, keys = breaking

    async def run() -> list[Outcome]:
        async with AsyncClient(url) as client:
            return [each async for each in client.map([b"x"])]

    (outcome,) = asyncio.run(run())
    assert outcome.result().best.score == 0.9
    assert len(keys) == 3 and len(set(keys)) == 1


def test_nothing_listens() -> None:
    with Client("http://127.0.0.1:9", patience=0) as client, pytest.raises(Unreachable, match="refused"):
        client.config()


@pytest.mark.parametrize("url", ["localhost:8001", "ftp://x", "", "http://", "http://[::1"])
def test_a_malformed_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="such as http://"):
        Client(url)


def test_a_malformed_key_is_refused() -> None:
    with pytest.raises(ValueError, match="expected printable ASCII"):
        AsyncClient("http://x", key="llave ñ")


def test_requests_to_this_machine_avoid_the_environments_proxy(
    breaking: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with Client(breaking[0]) as client:
        assert client.job("j1")
    with Client("http://192.0.2.1", patience=0) as away, pytest.raises(Unreachable, match="refused"):
        away.config()


def test_a_redirect_is_reported() -> None:
    with pytest.raises(Problem, match=r"redirects to https://x/cfg\. Use that address"):
        drive(Calls(0).get("/cfg"), answer(301, None, Location="https://x/cfg"))


def test_nothing_in_flight_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        PhotoStream(Calls(1), [], {}, in_flight=0)
