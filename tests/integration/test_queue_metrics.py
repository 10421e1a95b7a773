"""Tests the queue's metrics on a real server."""

import time

from shared.job import Options
from shared.queue import BULK, INTERACTIVE
from shared.queue.messages import Claim, NewJob, Reply, Settlement
from shared.worker_counts import Count, QueueMetrics
from tests.job_queue import JobQueue

ROOM = {INTERACTIVE: 32, BULK: 32}


def ended(queue: JobQueue) -> dict[str, float]:
    """Return the number of ended jobs by queue and reason."""
    return {f"{each.label}:{each.rest}": n for each, n in queue.metrics().counts.items()}


def submit(queue: JobQueue, *names: str, queue_name: str = INTERACTIVE) -> None:
    queue.submit([NewJob(name, b"image", Options()) for name in names], queue_name)


def claim(queue: JobQueue, worker: str = "w1") -> list[Claim]:
    return queue.claim(worker, ROOM, idle=True).jobs


def test_an_empty_server_has_empty_metrics(queue: JobQueue) -> None:
    none = {INTERACTIVE: 0, BULK: 0}
    assert queue.metrics() == QueueMetrics(none, none, none, 0, {})


def test_waiting_and_running_jobs_are_counted_by_queue(queue: JobQueue) -> None:
    submit(queue, "a", "b")
    submit(queue, "c", "d", "e", queue_name=BULK)
    time.sleep(0.05)
    metrics = queue.metrics()
    assert (metrics.waiting, metrics.image_bytes) == ({INTERACTIVE: 2, BULK: 3}, 5 * len(b"image"))
    assert 0.05 <= metrics.oldest_wait[INTERACTIVE] < 5 and metrics.oldest_wait[BULK] >= 0.05
    claim(queue)
    metrics = queue.metrics()
    assert (metrics.waiting, metrics.running) == ({INTERACTIVE: 0, BULK: 3}, {INTERACTIVE: 2, BULK: 0})
    assert metrics.oldest_wait[INTERACTIVE] == 0


def test_a_waiting_job_without_a_record_is_ignored(queue: JobQueue, redis) -> None:
    redis.rpush("rq:queue:bulk", "deleted-by-hand")
    assert queue.metrics().oldest_wait[BULK] == 0


def test_ended_jobs_are_counted_by_reason(queue: JobQueue) -> None:
    submit(queue, "good", "also-good", "damaged", "late")
    good, also, damaged, late = claim(queue)
    queue.settle("w1", [Settlement(each, Reply(each.job_id, {"answer": 1})) for each in (good, also)])
    queue.settle(
        "w1", [Settlement.failed(damaged, "image-damaged", "x"), Settlement.failed(late, "expired", "x")]
    )
    submit(queue, "unwanted", queue_name=BULK)
    assert queue.cancel("unwanted") == "canceled"
    counts = {"interactive:": 2, "interactive:image-damaged": 1, "interactive:expired": 1, "bulk:canceled": 1}
    assert ended(queue) == counts


def test_each_ended_job_is_counted_once(queue: JobQueue) -> None:
    submit(queue, "a")
    ending = Settlement(claim(queue)[0], Reply("a", {"answer": 1}))
    assert [queue.settle("w1", [ending]), queue.settle("w1", [ending])] == [[True], [False]]
    assert queue.cancel("a") == "finished"
    assert ended(queue) == {"interactive:": 1}


def test_a_job_that_killed_all_its_workers_is_counted(queue: JobQueue, redis) -> None:
    submit(queue, "poison")
    for _ in range(3):
        claim(queue)
        assert ended(queue) == {}
        (lease,) = redis.zrange("rq:wip:interactive", 0, 0)
        redis.zadd("rq:wip:interactive", {lease: 1})  # the lease ends
        queue.reap()
    assert ended(queue) == {"interactive:attempts-exhausted": 1}


def test_workers_counts_are_added_up(queue: JobQueue) -> None:
    queue.count("w1", 1, {"decode_seconds::0.05": 2, "decode_seconds::sum": 0.03125})
    queue.count("w2", 1, {"decode_seconds::0.05": 3, "decode_seconds::sum": 0.0625})
    metrics = queue.metrics().counts
    assert metrics == {Count.parse("decode_seconds::0.05"): 5, Count.parse("decode_seconds::sum"): 0.09375}


def test_a_repeated_message_of_a_worker_is_counted_once(queue: JobQueue) -> None:
    for number in (1, 1, 2, 1, 2):
        queue.count("w1", number, {"batch_inputs::4": 1})
    assert queue.metrics().counts == {Count.parse("batch_inputs::4"): 2}
