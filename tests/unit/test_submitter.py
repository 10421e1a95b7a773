"""Jobs that are queued in one trip."""

import threading
from collections.abc import Sequence
from typing import cast

import pytest

from gateway.reply_listener import Waiter
from gateway.submit_batch import ENOUGH_TOGETHER, Submitter
from shared.job import Options
from shared.queue.messages import NewJob
from tests.job_queue import JobQueue


class Trips:
    """Notes the jobs of each trip; those of the name `slow` take until `arrive` is set."""

    def __init__(self) -> None:
        self.made: list[list[str]] = []
        self.under_way, self.arrive = threading.Event(), threading.Event()

    def submit_each(self, jobs: Sequence[tuple[NewJob, float | None]]) -> list[str]:
        names = [job.id for job, _ in jobs]
        self.made.append(names)
        if "broken" in names:
            raise OSError("no way through")
        if "slow" in names:
            self.under_way.set()
            assert self.arrive.wait(10)
        return ["" for _ in jobs]


@pytest.fixture
def trips() -> Trips:
    return Trips()


@pytest.fixture
def submitter(trips: Trips) -> Submitter:
    return Submitter(cast(JobQueue, trips))


def submit(submitter: Submitter, name: str) -> Waiter:
    waiter = Waiter([name])
    submitter.submit(NewJob(name, b"image", Options()), 10.0, waiter)
    return waiter


def queued(waiter: Waiter) -> bool:
    return waiter.since < float("inf")


def test_enough_jobs_do_not_wait_for_the_trip_that_is_under_way(trips: Trips, submitter: Submitter) -> None:
    slow = submit(submitter, "slow")
    assert trips.under_way.wait(10)
    waiters = [submit(submitter, str(number)) for number in range(ENOUGH_TOGETHER - 1)]
    assert trips.made == [["slow"]] and not any(map(queued, waiters))
    waiters.append(submit(submitter, "last"))
    assert trips.made == [["slow"], [*map(str, range(ENOUGH_TOGETHER - 1)), "last"]]
    assert all(map(queued, waiters)) and not queued(slow)
    trips.arrive.set()


def test_fewer_share_the_next_trip(trips: Trips, submitter: Submitter) -> None:
    submit(submitter, "slow")
    assert trips.under_way.wait(10)
    submit(submitter, "one")
    waiter = submit(submitter, "broken")
    trips.arrive.set()
    assert waiter.wait(10) and isinstance(waiter.refusal, OSError)
    assert trips.made == [["slow"], ["one", "broken"]]
