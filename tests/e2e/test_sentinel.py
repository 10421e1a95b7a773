"""Tests fail-over by Sentinels under load: no replicated job is lost, and no part of the service restarts."""

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from redis.exceptions import ConnectionError, RedisError

from shared.redis_connection import connect
from tests.e2e.conftest import SECRET
from tests.e2e.test_classify import DIGITS, best, digit_class
from tests.integration.test_webhooks import Receiver
from tests.sentinel import PASSWORD, SENTINEL_PASSWORD, SERVICE, Sentinels, confirmed
from tests.stack import Stack, eventually


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Sentinels]:
    running = Sentinels()
    yield running
    running.close()


@pytest.fixture(scope="module")
def stack(sentinels: Sentinels) -> Iterator[Stack]:
    running = Stack(
        REDIS_URL=sentinels.url,
        WEBHOOK_SECRET=SECRET,
        WEBHOOK_ALLOW="127.0.0.1",
        WEBHOOK_WORKERS=1,
        RATE_LIMIT="99999/minute",
        JOB_LEASE=3,
    )
    try:
        running.start("webhooks", "webhooks")
        running.start_worker()
        yield running
    finally:
        running.close()


class Load:
    """Runs threads that classify images and submit jobs until the `with` block ends; keeps the results."""

    def __init__(self, stack: Stack, sentinels: Sentinels) -> None:
        self.accepted: dict[str, int] = {}
        """The number of each accepted job's image, by job id in the order of the answers."""
        self.confirmed: set[str] = set()
        """The ids of the accepted jobs that the replica confirmed."""
        self.refused: list[requests.Response] = []
        self.answered = 0
        self.hooks = Receiver()
        self._stack, self._master = stack, sentinels.client(sentinels.master())
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(6)

    def __enter__(self) -> "Load":
        self._futures = [self._pool.submit(self._run, thread) for thread in range(6)]
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._pool.shutdown()
        for future in self._futures:
            future.result()

    def _run(self, thread: int) -> None:
        number = thread
        while not self._stopped.wait(0.01):
            number = (number + 1) % len(DIGITS)
            self._classify(number) if thread % 3 == 0 else self._submit(number)

    def _classify(self, number: int) -> None:
        answer = self._stack.classify(DIGITS[number])
        if answer.status_code == 200:
            assert best(answer.json()) == [digit_class(DIGITS[number])]
            self.answered += 1
        else:
            self.refused.append(answer)

    def _submit(self, number: int) -> None:
        files, form = {"blob": DIGITS[number].read_bytes()}, {"webhook": self.hooks.url}
        answer = requests.post(f"{self._stack.url}/jobs", files=files, data=form, timeout=30)
        if answer.status_code != 202:
            self.refused.append(answer)
            return
        job_id = answer.json()["jobs"][0]["id"]
        self.accepted[job_id] = number
        with contextlib.suppress(RedisError):  # a dead master cannot confirm a job
            if confirmed(self._master):
                self.confirmed.add(job_id)

    def all_finished(self, job_ids: set[str]) -> bool:
        """Return whether these jobs have finished; check that each answer has the class of its image."""
        found = states(self._stack, sorted(job_ids))
        assert {each["status"] for each in found} <= {"queued", "started", "finished"}
        if any(each["status"] != "finished" for each in found):
            return False
        for each in found:
            (region,) = each["result"]["regions"]
            assert region["predictions"][0]["class"] == digit_class(DIGITS[self.accepted[each["id"]]])
        return True

    def reported(self) -> set[str]:
        """Return the jobs whose webhooks have arrived."""
        return {json.loads(body)["data"]["id"] for _, _, body in self.hooks.got}


def states(stack: Stack, job_ids: list[str]) -> list[dict[str, Any]]:
    found = []
    for start in range(0, len(job_ids), 100):
        answer = requests.get(f"{stack.url}/jobs?ids={','.join(job_ids[start : start + 100])}", timeout=30)
        assert answer.status_code == 200, answer.text
        found += answer.json()["jobs"]
    return found


def kill(sentinels: Sentinels) -> None:
    sentinels.kill(sentinels.master())


def request_failover(sentinels: Sentinels) -> None:
    """Let the Sentinels change the master.

    They inform the old master ten seconds later. Until then it must not write without a replica.
    """
    sentinels.client(sentinels.master()).config_set("min-replicas-to-write", "1")
    sentinels.client(sentinels.sentinels[0]).execute_command("SENTINEL", "FAILOVER", SERVICE)


@pytest.mark.parametrize("change", [kill, request_failover])
def test_no_replicated_job_is_lost(
    sentinels: Sentinels, stack: Stack, change: Callable[[Sentinels], None]
) -> None:
    old = sentinels.master()
    sentinels.ensure_replica()
    with Load(stack, sentinels) as load:
        eventually(lambda: len(load.confirmed) >= 50, 20, "the replica has jobs")
        change(sentinels)
        eventually(lambda: sentinels.master() != old, 20, "the master has changed")
        before, answered = len(load.accepted), load.answered
        eventually(lambda: len(load.accepted) >= before + 100, 20, "the new master accepts jobs")
        eventually(lambda: load.answered >= answered + 20, 20, "requests are answered with the new master")
    # Answers from the old master may still have been in flight to some of the six threads.
    later = set([*load.accepted][before + 6 :])
    eventually(lambda: load.all_finished(load.confirmed | later), 20, "no confirmed job is lost")
    # A sender that lost Redis during a delivery may need two minutes for it (docs/webhooks.md).
    eventually(lambda: load.reported() >= later, 130, "the webhook sender has found the new master")
    assert {answer.status_code for answer in load.refused} <= {503}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in load.refused)


def test_a_read_interrupted_by_a_signal_leaves_no_reply_for_the_next_command(sentinels: Sentinels) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with connect(sentinels.url) as client:
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.3)
                client.blpop(["nothing"], timeout=2)
            assert client.echo("this one") == b"this one"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_no_password_is_in_a_log(stack: Stack) -> None:
    logs = stack.logs()
    assert "Redis" in logs and not any(
        each in logs for each in (PASSWORD, PASSWORD.replace("/", "%2F"), SENTINEL_PASSWORD)
    )


def test_errors_without_a_master_open_no_further_connections(sentinels: Sentinels) -> None:
    url = sentinels.url.replace(f"/{SERVICE}/", "/another/")
    with connect(url, retries=0) as client:
        for _ in range(20):
            with pytest.raises(ConnectionError, match="No master found"):
                client.ping()
        assert len(client.connection_pool._connections) == 1
