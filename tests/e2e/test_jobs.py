"""The asynchronous side on real parts."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import requests
from rq.suspension import resume, suspend
from standardwebhooks import Webhook

import demo
from shared.job import Options
from shared.queue import BULK
from shared.queue.messages import NewJob
from shared.settings import Settings
from tests.e2e.conftest import SECRET
from tests.e2e.test_classify import DIGITS, best, digit_class
from tests.integration.test_webhooks import Receiver
from tests.job_queue import JobQueue
from tests.stack import Stack, eventually, free_port


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
    found = requests.get(f"{stack.url}/jobs/{job_id}?wait=30", timeout=40).json()
    assert found["status"] == "finished" and time.monotonic() - start < 10


def finished(stack: Stack, lane: str = "bulk") -> int:
    return int(stack.valkey.client.zcard(f"rq:finished:{lane}"))


def queue_bulk(stack: Stack, count: int) -> None:
    """Put jobs into the queue as a gateway does, only faster than through HTTP."""
    queue = JobQueue(stack.valkey.client, Settings(bulk_queue_size=count))
    images = [path.read_bytes() for path in DIGITS]
    for start in range(0, count, 500):
        numbers = range(start, min(start + 500, count))
        queue.submit([NewJob(uuid4().hex, images[n % len(images)], Options()) for n in numbers], BULK)


def test_ten_thousand_bulk_jobs_do_not_block_a_single_request_and_both_progress(stack: Stack) -> None:
    before = finished(stack)
    suspend(stack.valkey.client)
    queue_bulk(stack, 10_000)
    resume(stack.valkey.client)
    eventually(lambda: finished(stack) > before + 64, 30, "the bulk is under way")
    for _ in range(5):
        done = finished(stack)
        answer = stack.classify(demo.SAMPLES / "siete.jpg")
        assert best(answer.json()) == ["Digitus septem albus"]
        # The batch in the model, the next one that may just have been taken, and what was being written.
        assert finished(stack) - done <= 4 * 32
    assert stack.valkey.client.llen("rq:queue:bulk") > 0, "the bulk was too small to tell"
    done, waiting = finished(stack), threading.Event()
    with ThreadPoolExecutor(16) as callers:  # more than one batch always waits for an answer

        def call(path: Path) -> None:
            while not waiting.is_set():
                assert best(stack.classify(path).json()) == [digit_class(path)]

        calls = [callers.submit(call, path) for path in (DIGITS * 2)[:16]]
        try:
            eventually(lambda: finished(stack) >= done + 320, 60, "bulk moves while callers wait")
        finally:
            waiting.set()
        for each in calls:
            each.result()
    eventually(lambda: finished(stack) >= before + 10_000, 120, "all done")


def test_any_of_two_gateways_answers_for_any_job_of_three_workers(stack: Stack) -> None:
    port = free_port()
    command = ("gunicorn", "-c", "python:gateway.gunicorn_conf", "gateway.app:create_app()")
    other = stack.start("gateway", *command, SERVER_PORT=str(port))
    extra = [stack.start_worker() for _ in range(2)]
    stack.wait_ready(3)
    urls = [stack.url, f"http://127.0.0.1:{port}"]
    paths = DIGITS * 10
    ids = [job_id for _ in range(6) for job_id in submit(stack, paths)]
    assert best(
        requests.post(f"{urls[1]}/classify", files={"blob": DIGITS[0].read_bytes()}, timeout=60).json()
    )
    workers = set()
    for number, job_id in enumerate(ids):
        job = requests.get(f"{urls[number % 2]}/jobs/{job_id}?wait=55", timeout=90).json()
        (region,) = job["result"]["regions"]
        assert region["predictions"][0]["class"] == digit_class(paths[number % len(paths)])
        workers.add(stack.valkey.client.hget(f"rq:job:{job_id}", "worker_name"))
    assert len(workers) == 3
    for process in (other, *extra):
        process.terminate()
        assert process.wait(30) == 0
    stack.workers = stack.workers[:1]


def test_a_thousand_jobs_are_polled_in_tens_of_requests(stack: Stack) -> None:
    waiting = [job_id for _ in range(10) for job_id in submit(stack, (DIGITS * 10)[:100])]
    calls = 0
    while waiting:
        ids = ",".join(waiting[:100])
        found = requests.get(f"{stack.url}/jobs?ids={ids}&wait=30", timeout=60).json()["jobs"]
        done = {job["id"] for job in found if job["status"] == "finished"}
        waiting = [job_id for job_id in waiting if job_id not in done]
        calls += 1
    assert calls <= 99


def test_a_webhook_receives_each_jobs_end(stack: Stack) -> None:
    receiver = Receiver()
    sender = stack.start("webhooks", "webhooks")
    ids = submit(stack, DIGITS[:3], webhook=f"{receiver.url}/hook", top_n="1")
    eventually(lambda: len(receiver.got) == 3, 30, "three messages")
    for _, headers, body in receiver.got:
        message = Webhook(SECRET).verify(body, headers)
        number = ids.index(message["data"]["id"])
        (region,) = message["data"]["result"]["regions"]
        assert message["type"] == "job.finished"
        assert region["predictions"][0]["class"] == digit_class(DIGITS[number])
    sender.terminate()
    assert sender.wait(30) == 0
    receiver.shutdown()
