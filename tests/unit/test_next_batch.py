import threading
import time

import numpy as np
import pytest

from shared.job import Options
from shared.queue import BULK, INTERACTIVE
from shared.queue.messages import Claim
from worker.leased_jobs import LeasedJobs
from worker.next_batch import DecodedJob, NextBatch


def claim(name: str, queue: str = INTERACTIVE) -> Claim:
    return Claim(queue, name, f"{name}-execution", b"", None, 1, "", 0.0)


def prepared(name: str, inputs: int = 1, queue: str = INTERACTIVE) -> DecodedJob:
    return DecodedJob(claim(name, queue), Options(), np.zeros((inputs, 2, 2, 3), np.uint8), 0.0)


def take(batch: NextBatch) -> list[DecodedJob]:
    """Take a batch that ends at once."""
    jobs = batch.take()
    batch.finish()
    return jobs


def names(batch: list[DecodedJob]) -> list[str]:
    return [each.claim.job_id for each in batch]


def test_waiting_jobs_are_taken_at_once() -> None:
    batch = NextBatch(lambda: 8)
    batch.add([prepared("a"), prepared("b")])
    assert names(batch.take()) == ["a", "b"]


def test_interactive_jobs_are_taken_before_bulk_and_never_with_it() -> None:
    batch = NextBatch(lambda: 8)
    batch.add([prepared("bulk", queue=BULK)])
    batch.add([prepared("phone")])
    assert [names(take(batch)), names(take(batch))] == [["phone"], ["bulk"]]


def test_bulk_jobs_get_a_batch_while_interactive_jobs_keep_coming() -> None:
    batch, order = NextBatch(lambda: 8), []
    batch.add([prepared("bulk", queue=BULK)])
    for number in range(12):
        batch.add([prepared(f"i{number}")])
        order += names(take(batch))
    assert order[:9] == [*(f"i{n}" for n in range(8)), "bulk"]


def test_room_is_counted_in_inputs_for_each_queue() -> None:
    batch = NextBatch(lambda: 8)
    batch.add([prepared("a", 3), prepared("bulk", 20, BULK)])
    assert batch.room() == {INTERACTIVE: 5, BULK: 0}


def test_a_flush_interval_holds_a_partial_batch_open() -> None:
    batch = NextBatch(lambda: 8, flush_interval=0.15)
    start = time.monotonic()
    batch.add([prepared("a")])
    threading.Timer(0.05, lambda: batch.add([prepared("b")])).start()
    assert names(batch.take()) == ["a", "b"]
    assert time.monotonic() - start >= 0.15


def test_a_full_batch_does_not_wait_for_the_flush_interval() -> None:
    batch = NextBatch(lambda: 2, flush_interval=60)
    batch.add([prepared("a"), prepared("b")])
    assert names(batch.take()) == ["a", "b"]


def test_closing_returns_the_untaken_jobs_and_ends_a_waiting_take() -> None:
    batch = NextBatch(lambda: 8, flush_interval=60)
    batch.add([prepared("a")])
    taken: list[list[DecodedJob]] = []
    thread = threading.Thread(target=lambda: taken.append(batch.take()))
    thread.start()
    assert names(batch.close()) == ["a"]
    thread.join(5)
    assert taken == [[]]


def test_taking_a_batch_wakes_a_thread_that_waits_for_room() -> None:
    batch = NextBatch(lambda: 1)
    batch.add([prepared("a")])
    threading.Timer(0.05, batch.take).start()
    start = time.monotonic()
    batch.wait_for_room(10)
    assert time.monotonic() - start < 5 and batch.room()[INTERACTIVE] == 1


def test_held_jobs_are_marked_lost_and_removed() -> None:
    held = LeasedJobs()
    held.add([claim("a"), claim("b")])
    held.mark_lost({"a-execution", "of-another"})
    assert [held.is_lost(each) for each in held.all()] == [True, False]
    held.remove([claim("a"), claim("b")])
    assert held.wait_empty(0) and len(held) == 0


@pytest.mark.parametrize("inputs", [1, 40])
def test_a_job_larger_than_a_batch_is_one_batch(inputs: int) -> None:
    batch = NextBatch(lambda: 8)
    batch.add([prepared("big", inputs)])
    assert names(batch.take()) == ["big"]


def waits(batch: NextBatch) -> tuple[threading.Thread, list[str]]:
    """Start a thread that takes a batch; return the thread and the list of the jobs' names."""
    taken: list[str] = []
    thread = threading.Thread(target=lambda: taken.extend(names(batch.take())))
    thread.start()
    return thread, taken


def test_a_batch_starts_beside_another_only_when_it_is_half_full() -> None:
    batch = NextBatch(lambda: 8)
    batch.add([prepared("first")])
    assert names(batch.take()) == ["first"]
    batch.add([prepared("a"), prepared("b", 2)])
    thread, taken = waits(batch)
    thread.join(0.1)
    assert thread.is_alive() and not taken
    batch.add([prepared("c")])
    thread.join(10)
    assert taken == ["a", "b", "c"]


def test_a_small_batch_starts_when_no_other_is_under_way() -> None:
    batch = NextBatch(lambda: 8)
    batch.add([prepared("first")])
    batch.take()
    batch.add([prepared("a")])
    thread, taken = waits(batch)
    batch.finish()
    thread.join(10)
    assert taken == ["a"]


def test_a_full_bulk_batch_lets_an_interactive_job_start_beside_another_batch() -> None:
    batch = NextBatch(lambda: 8)
    batch.add([prepared("first")])
    batch.take()
    batch.add([prepared("bulk", 8, BULK), prepared("phone")])
    assert [names(batch.take()), names(batch.take())] == [["phone"], ["bulk"]]


def test_the_room_follows_the_models_current_batch() -> None:
    size = [32]
    batch = NextBatch(lambda: size[0], flush_interval=60)
    batch.add([prepared("a", 8)])
    assert batch.room()[INTERACTIVE] == 24
    size[0] = 8
    assert batch.room() == {INTERACTIVE: 0, BULK: 8} and names(batch.take()) == ["a"]
    size[0] = 64
    assert batch.room() == {INTERACTIVE: 64, BULK: 64}
