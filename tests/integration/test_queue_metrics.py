"""The figures in Redis, on a real server."""

import time

from shared.job import Options
from shared.metric_names import Count, QueueMetrics
from shared.queue import BULK, INTERACTIVE
from shared.queue.messages import Claim, NewJob, Reply, Settlement
from tests.job_queue import JobQueue

ROOM = {INTERACTIVE: 32, BULK: 32}


def ended(queue: JobQueue) -> dict[str, float]:
    """How many jobs ended, by queue and reason."""
    return {f"{each.label}:{each.rest}": n for each, n in queue.metrics().counts.items()}


def submit(queue: JobQueue, *names: str, lane: str = INTERACTIVE) -> None:
    queue.submit([NewJob(name, b"image", Options()) for name in names], lane)


def claim(queue: JobQueue, worker: str = "w1") -> list[Claim]:
    return queue.claim(worker, ROOM, idle=True).jobs


def test_an_empty_server_has_nothing(queue: JobQueue) -> None:
    none = {INTERACTIVE: 0, BULK: 0}
    assert queue.metrics() == QueueMetrics(none, none, none, 0, {})


def test_waiting_and_running_jobs_are_told_by_queue(queue: JobQueue) -> None:
    submit(queue, "a", "b")
    submit(queue, "c", "d", "e", lane=BULK)
    time.sleep(0.05)
    told = queue.metrics()
    assert (told.waiting, told.image_bytes) == ({INTERACTIVE: 2, BULK: 3}, 5 * len(b"image"))
    assert 0.05 <= told.oldest_wait[INTERACTIVE] < 5 and told.oldest_wait[BULK] >= 0.05
    claim(queue)
    told = queue.metrics()
    assert (told.waiting, told.running) == ({INTERACTIVE: 0, BULK: 3}, {INTERACTIVE: 2, BULK: 0})
    assert told.oldest_wait[INTERACTIVE] == 0


def test_a_waiting_job_whose_record_is_gone_does_not_matter(queue: JobQueue, redis) -> None:
    redis.rpush("rq:queue:bulk", "deleted-by-hand")
    assert queue.metrics().oldest_wait[BULK] == 0


def test_ended_jobs_are_counted_by_what_ended_them(queue: JobQueue) -> None:
    submit(queue, "good", "also-good", "damaged", "late")
    good, also, damaged, late = claim(queue)
    queue.settle("w1", [Settlement(each, Reply(each.job_id, {"answer": 1})) for each in (good, also)])
    queue.settle(
        "w1", [Settlement.failed(damaged, "image-damaged", "x"), Settlement.failed(late, "expired", "x")]
    )
    submit(queue, "unwanted", lane=BULK)
    assert queue.cancel("unwanted") == "canceled"
    counts = {"interactive:": 2, "interactive:image-damaged": 1, "interactive:expired": 1, "bulk:canceled": 1}
    assert ended(queue) == counts


def test_an_end_is_counted_once(queue: JobQueue) -> None:
    submit(queue, "a")
    ending = Settlement(claim(queue)[0], Reply("a", {"answer": 1}))
    assert [queue.settle("w1", [ending]), queue.settle("w1", [ending])] == [[True], [False]]
    assert queue.cancel("a") == "finished"
    assert ended(queue) == {"interactive:": 1}


def test_a_job_that_every_worker_died_of_is_counted(queue: JobQueue, redis) -> None:
    submit(queue, "poison")
    for _ in range(3):
        claim(queue)
        assert ended(queue) == {}
        redis.zadd(
            "rq:wip:interactive", {redis.zrange("rq:wip:interactive", 0, 0)[0]: 1}
        )  # its lease is over
        queue.reap()
    assert ended(queue) == {"interactive:attempts-exhausted": 1}


def test_workers_counts_are_added_up(queue: JobQueue) -> None:
    queue.count("w1", 1, {"decode_seconds::0.05": 2, "decode_seconds::sum": 0.03125})
    queue.count("w2", 1, {"decode_seconds::0.05": 3, "decode_seconds::sum": 0.0625})
    told = queue.metrics().counts
    assert told == {Count.parse("decode_seconds::0.05"): 5, Count.parse("decode_seconds::sum"): 0.09375}


def test_the_same_number_is_not_counted_twice(queue: JobQueue) -> None:
    for number in (1, 1, 2, 1, 2):
        queue.count("w1", number, {"batch_inputs::4": 1})
    assert queue.metrics().counts == {Count.parse("batch_inputs::4"): 2}
