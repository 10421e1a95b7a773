"""Jobs that are submitted with one command."""

import threading
from collections.abc import Sequence
from typing import cast

import pytest

from gateway.job_submitter import EAGER_JOBS, JobSubmitter
from gateway.reply_listener import PendingReply
from shared.job import Options
from shared.queue.messages import NewJob
from tests.job_queue import JobQueue


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


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
def submitter(commands: Commands) -> JobSubmitter:
    return JobSubmitter(cast(JobQueue, commands))


def submit(submitter: JobSubmitter, name: str) -> PendingReply:
    pending = PendingReply([name])
    submitter.submit(NewJob(name, b"image", Options()), 10.0, pending)
    return pending


def queued(pending: PendingReply) -> bool:
    return pending.queued_at < float("inf")


def test_enough_jobs_do_not_wait_for_the_running_command(commands: Commands, submitter: JobSubmitter) -> None:
    slow = submit(submitter, "slow")
    assert commands.running.wait(10)
    replies = [submit(submitter, str(number)) for number in range(EAGER_JOBS - 1)]
    assert commands.made == [["slow"]] and not any(map(queued, replies))
    replies.append(submit(submitter, "last"))
    assert commands.made == [["slow"], [*map(str, range(EAGER_JOBS - 1)), "last"]]
    assert all(map(queued, replies)) and not queued(slow)
    commands.finish.set()


def test_fewer_jobs_share_the_next_command(commands: Commands, submitter: JobSubmitter) -> None:
    submit(submitter, "slow")
    assert commands.running.wait(10)
    submit(submitter, "one")
    pending = submit(submitter, "broken")
    commands.finish.set()
    assert pending.wait(10) and isinstance(pending.error, OSError)
    assert commands.made == [["slow"], ["one", "broken"]]
