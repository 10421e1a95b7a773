"""Jobs that are submitted with one command."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import cast

import pytest

from gateway.inflight import EAGER_JOBS, InFlight, TimedOut
from shared.job import Options
from shared.queue.messages import NewJob, Reply
from tests.background import begin
from tests.job_queue import JobQueue

Submit = Callable[[str], Future[Reply]]


class Commands:
    """Records the jobs of each command; a job named `slow` waits until `finish` is set."""

    def __init__(self) -> None:
        self.made: list[list[str]] = []
        self.running, self.finish = threading.Event(), threading.Event()

    def submit_each(self, jobs: Sequence[tuple[NewJob, float | None]]) -> list[str]:
        names = [job.id for job, _ in jobs]
        self.made.append(names)
        if "broken" in names:
            raise OSError("unreachable")
        if "slow" in names:
            self.running.set()
            assert self.finish.wait(10)
        return ["" for _ in jobs]

    def replies(self, reply_to: str) -> list[Reply]:
        """A job is answered as soon as it is queued; the running command's jobs are not."""
        time.sleep(0.01)
        slow = set() if self.finish.is_set() else {"slow"}
        return [Reply(name) for names in self.made for name in names if name not in slow]


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
def submit(commands: Commands) -> Submit:
    inflight = InFlight(cast(JobQueue, commands), "here")

    def run(name: str) -> Future[Reply]:
        before, made = len(inflight._unsent), len(commands.made)
        future = begin(inflight.run, NewJob(name, b"image", Options()), 10.0)
        while len(inflight._unsent) == before and len(commands.made) == made:
            time.sleep(0.001)
        return future

    return run


def test_enough_jobs_do_not_wait_for_the_running_command(commands: Commands, submit: Submit) -> None:
    slow = submit("slow")
    assert commands.running.wait(10)
    replies = [submit(str(number)) for number in range(EAGER_JOBS - 1)]
    assert commands.made == [["slow"]] and not any(each.done() for each in replies)
    replies.append(submit("last"))
    assert all(each.result(10) for each in replies) and not slow.done()
    assert commands.made == [["slow"], [*map(str, range(EAGER_JOBS - 1)), "last"]]
    commands.finish.set()
    assert slow.result(10).job_id == "slow"


def test_fewer_jobs_share_the_next_command(commands: Commands, submit: Submit) -> None:
    submit("slow")
    assert commands.running.wait(10)
    submit("one")
    broken = submit("broken")
    commands.finish.set()
    assert isinstance(broken.exception(10), OSError)
    assert commands.made == [["slow"], ["one", "broken"]]


def test_a_job_that_may_not_expire_is_queued_before_the_wait_ends(commands: Commands) -> None:
    inflight = InFlight(cast(JobQueue, commands), "here")
    commands.replies = lambda reply_to: time.sleep(0.01) or []  # type: ignore[method-assign]
    with pytest.raises(TimedOut):
        begin(inflight.run, NewJob("later", b"image", Options()), 0.0, expires=False).result(10)
    assert commands.made == [["later"]]
