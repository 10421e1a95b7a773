from math import inf

import pytest

from gateway.app import create_app
from shared.metric_names import ANSWER
from shared.queue.messages import Served
from shared.settings import Settings
from tests.unit.test_metrics import Away, Queue, client_of


class Idle(Queue):
    def served(self) -> Served | None:
        return None


def test_workers_and_queues_are_told_as_they_are() -> None:
    told = client_of(Queue()).get("/status").json
    assert told["workers"] == 2
    assert told["waiting"] == told["running"] == {"interactive": 3, "bulk": 5}
    assert client_of(Idle()).get("/status").json["workers"] == 0


def test_what_was_counted_is_added_up() -> None:
    counts = {"batch_inputs::1": 3, "batch_inputs::32": 2, "batch_inputs::inf": 1, "batch_inputs::sum": 1090}
    told = client_of(Queue(**counts)).get("/status").json
    assert (told["inputs"], told["batches"]) == (1090, 6)


def test_answers_are_those_of_callers_who_wait() -> None:
    name = "answer_seconds"
    counts = {f"{name}:interactive:0.01": 4, f"{name}:interactive:inf": 1, f"{name}:interactive:sum": 9000.5}
    told = client_of(Queue(**counts, **{f"{name}:bulk:0.01": 7})).get("/status").json["answers"]
    assert [each["within"] for each in told] == [*ANSWER.bounds, None]
    assert {each["within"] or inf: each["jobs"] for each in told if each["jobs"]} == {0.01: 4, inf: 1}


def test_before_any_job_all_is_zero() -> None:
    told = client_of(Queue()).get("/status").json
    assert told["inputs"] == told["batches"] == sum(each["jobs"] for each in told["answers"]) == 0


def test_without_redis_it_is_503_and_the_page_is_there() -> None:
    client = create_app(Settings(), Away()).test_client()
    answer = client.get("/status")
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
    assert client.get("/").status_code == 200


def test_the_page_may_load_from_here_alone() -> None:
    client = client_of(Queue())
    page = client.get("/")
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; ") and "unsafe" not in policy and "http" not in policy
    assert "http" not in page.text and "<style" not in page.text and "style=" not in page.text


@pytest.mark.parametrize(
    ("file", "kind"),
    [("main.js", "text/javascript"), ("style.css", "text/css"), ("icon.svg", "image/svg+xml")],
)
def test_what_the_page_loads_has_its_kind(file: str, kind: str) -> None:
    assert client_of(Queue()).get(f"/page/{file}").headers["Content-Type"].startswith(kind)


@pytest.mark.parametrize("file", ["index.html", "nowhere.js", "..%2fdocs.js", "../../app.py"])
def test_nothing_else_is_there(file: str) -> None:
    assert client_of(Queue()).get(f"/page/{file}").status_code == 404
