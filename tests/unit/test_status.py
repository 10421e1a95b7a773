from math import inf

import pytest

from gateway.app import create_app
from shared.metric_names import ANSWER
from shared.queue.messages import Served
from shared.settings import Settings
from tests.asgi_client import AsgiClient
from tests.unit.test_metrics import Away, Queue, client_of


class Idle(Queue):
    def served(self) -> Served | None:
        return None


def test_the_status_has_the_current_workers_and_queues() -> None:
    found = client_of(Queue()).get("/status").json
    assert found["workers"] == 2
    assert found["devices"] == [{"kind": "gpu", "name": "NVIDIA H200", "workers": 2}]
    assert found["waiting"] == found["running"] == {"interactive": 3, "bulk": 5}
    idle = client_of(Idle()).get("/status").json
    assert (idle["workers"], idle["devices"]) == (0, [])


def test_batches_and_inputs_are_summed() -> None:
    counts = {"batch_inputs::1": 3, "batch_inputs::32": 2, "batch_inputs::inf": 1, "batch_inputs::sum": 1090}
    found = client_of(Queue(**counts)).get("/status").json
    assert (found["inputs"], found["batches"]) == (1090, 6)


def test_answers_count_interactive_jobs_only() -> None:
    name = "answer_seconds"
    counts = {f"{name}:interactive:0.01": 4, f"{name}:interactive:inf": 1, f"{name}:interactive:sum": 9000.5}
    found = client_of(Queue(**counts, **{f"{name}:bulk:0.01": 7})).get("/status").json["answers"]
    assert [each["within"] for each in found] == [*ANSWER.bounds, None]
    assert {each["within"] or inf: each["jobs"] for each in found if each["jobs"]} == {0.01: 4, inf: 1}


def test_before_the_first_job_all_counts_are_zero() -> None:
    found = client_of(Queue()).get("/status").json
    assert found["inputs"] == found["batches"] == sum(each["jobs"] for each in found["answers"]) == 0


def test_without_redis_the_status_is_503_and_the_page_is_served() -> None:
    client = AsgiClient(create_app(Settings(), Away()))
    answer = client.get("/status")
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
    assert client.get("/").status_code == 200


def test_the_page_may_load_files_of_this_server_only() -> None:
    client = client_of(Queue())
    page = client.get("/")
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; ") and "unsafe" not in policy and "http" not in policy
    assert "http" not in page.text and "<style" not in page.text and "style=" not in page.text


@pytest.mark.parametrize(
    ("file", "kind"),
    [("main.js", "text/javascript"), ("style.css", "text/css"), ("icon.svg", "image/svg+xml")],
)
def test_the_pages_files_have_their_content_type(file: str, kind: str) -> None:
    assert client_of(Queue()).get(f"/page/{file}").headers["Content-Type"].startswith(kind)


@pytest.mark.parametrize("file", ["index.html", "nowhere.js", "..%2fdocs.js", "../../app.py"])
def test_other_files_are_not_served(file: str) -> None:
    assert client_of(Queue()).get(f"/page/{file}").status_code == 404
