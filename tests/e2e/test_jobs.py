"""The asynchronous side on real parts."""

import time
from pathlib import Path

import requests

import demo
from tests.e2e.test_classify import DIGITS, best, digit_class
from tests.stack import Stack, eventually


def submit(stack: Stack, paths: list[Path], **form: str) -> list[str]:
    files = [("blob", (path.name, path.read_bytes())) for path in paths]
    answer = requests.post(f"{stack.url}/jobs", files=files, data=form, timeout=30)
    assert answer.status_code == 202, answer.text
    return [job["id"] for job in answer.json()["jobs"]]


def test_ten_images_are_submitted_and_each_gets_its_answer(stack: Stack) -> None:
    waiting = dict(zip(submit(stack, DIGITS, top_n="1"), DIGITS, strict=True))
    calls = 0
    while waiting:
        ids = ",".join(waiting)
        for job in requests.get(f"{stack.url}/jobs?ids={ids}&wait=10", timeout=30).json()["jobs"]:
            if job["status"] == "finished":
                (region,) = job["result"]["regions"]
                assert region["predictions"][0]["class"] == digit_class(waiting.pop(job["id"]))
        calls += 1
    assert calls <= 10


def test_a_long_poll_answers_as_soon_as_the_job_is_done(stack: Stack) -> None:
    (job_id,) = submit(stack, DIGITS[:1])
    start = time.monotonic()
    told = requests.get(f"{stack.url}/jobs/{job_id}?wait=30", timeout=40).json()
    assert told["status"] == "finished" and time.monotonic() - start < 10


def test_a_bulk_does_not_hold_up_a_lone_request_and_both_move(stack: Stack) -> None:
    bulk = [job_id for _ in range(15) for job_id in submit(stack, DIGITS * 10)]
    left = stack.valkey.client.llen("rq:queue:bulk")
    answer = stack.classify(demo.SAMPLES / "siete.jpg")
    assert best(answer.json()) == ["Digitus septem albus"]
    assert stack.valkey.client.llen("rq:queue:bulk") > 0, f"{left} were left: the bulk is too small to tell"
    eventually(
        lambda: stack.valkey.client.zcount("rq:finished:bulk", "-inf", "+inf") >= len(bulk), 60, "all done"
    )
