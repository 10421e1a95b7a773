"""Fail-over by Sentinels under load: what the replica had is not lost, and no part is started anew."""

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
    """Threads that ask for answers and submit jobs, and what became of these; it ends with the `with`."""

    def __init__(self, stack: Stack, sentinels: Sentinels) -> None:
        self.accepted: dict[str, int] = {}
        """The number of the image of each job that was answered with 202, in the order of the answers."""
        self.confirmed: set[str] = set()
        """Those of them that the replica had when it was asked."""
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
        with contextlib.suppress(RedisError):  # where the master is dead, nobody can say
            if confirmed(self._master):
                self.confirmed.add(job_id)

    def all_right(self, job_ids: set[str]) -> bool:
        """Whether these jobs have ended, each with the class of its image."""
        found = states(self._stack, sorted(job_ids))
        assert {each["status"] for each in found} <= {"queued", "started", "finished"}
        if any(each["status"] != "finished" for each in found):
            return False
        for each in found:
            (region,) = each["result"]["regions"]
            assert region["predictions"][0]["class"] == digit_class(DIGITS[self.accepted[each["id"]]])
        return True

    def told(self) -> set[str]:
        """The jobs whose ends came by webhook."""
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


def ask_for_another(sentinels: Sentinels) -> None:
    """The Sentinels tell the old master ten seconds later; till then it must not write without a replica."""
    sentinels.client(sentinels.master()).config_set("min-replicas-to-write", "1")
    sentinels.client(sentinels.sentinels[0]).execute_command("SENTINEL", "FAILOVER", SERVICE)


@pytest.mark.parametrize("change", [kill, ask_for_another])
def test_what_the_replica_had_is_not_lost(
    sentinels: Sentinels, stack: Stack, change: Callable[[Sentinels], None]
) -> None:
    old = sentinels.master()
    sentinels.ensure_replica()
    with Load(stack, sentinels) as load:
        eventually(lambda: len(load.confirmed) >= 50, 20, "jobs that the replica has")
        change(sentinels)
        eventually(lambda: sentinels.master() != old, 20, "another master")
        before, answered = len(load.accepted), load.answered
        eventually(lambda: len(load.accepted) >= before + 100, 20, "jobs with the new master")
        eventually(lambda: load.answered >= answered + 20, 20, "answers with the new master")
    # Some threads' answers may have been on their way from the old master.
    later = set([*load.accepted][before + 6 :])
    eventually(lambda: load.all_right(load.confirmed | later), 20, "no confirmed job is lost")
    eventually(lambda: load.told() >= later, 60, "the sender has found the new master too")
    assert {answer.status_code for answer in load.refused} <= {503}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in load.refused)


def test_a_read_that_a_signal_ends_leaves_no_answer_to_the_next(sentinels: Sentinels) -> None:
    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
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


def test_without_a_master_errors_pile_nothing_up(sentinels: Sentinels) -> None:
    url = sentinels.url.replace(f"/{SERVICE}/", "/another/")
    with connect(url, retries=0) as client:
        for _ in range(20):
            with pytest.raises(ConnectionError, match="No master found"):
                client.ping()
        assert len(client.connection_pool._connections) == 1
