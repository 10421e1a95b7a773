"""Tests the queue on a real server: limits, leases, attempts, fencing, and RQ's own tools on our records."""

import dataclasses
import itertools
import json
import os
import random
import sys
import threading
import time
import types
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.registry import CanceledJobRegistry, FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend

from shared.job import JobFailure, Options, Region
from shared.queue import BULK, INTERACTIVE
from shared.queue.messages import Claim, ClaimOutcome, NewJob, QueueFull, Reply, Settlement, WorkerStatus
from shared.settings import Settings
from tests.job_queue import JobQueue
from tests.stack import rq_command
from tests.valkey import Valkey

ROOM = {INTERACTIVE: 32, BULK: 32}
FULL_RECORD = {
    "status",
    "created_at",
    "enqueued_at",
    "origin",
    "description",
    "data",
    "timeout",
    "result_ttl",
}


def submit(
    queue: JobQueue, *names: str, queue_name: str = INTERACTIVE, options: Options | None = None
) -> None:
    for name in names:
        job = NewJob(name, b"image of " + name.encode(), options or Options(), "r-" + name, "replies")
        queue.submit([job], queue_name, timeout=60)


def large(name: str, queue_name: str = INTERACTIVE) -> tuple[list[NewJob], str]:
    return [NewJob(name, b"x" * 6000, Options())], queue_name


def take(queue: JobQueue, worker: str = "w1", *, idle: bool = True, **room: int) -> list[Claim]:
    return queue.claim(worker, ROOM | room, idle=idle).jobs


def ids(claims: list[Claim]) -> list[str]:
    return [claim.job_id for claim in claims]


def good(claim: Claim) -> Settlement:
    return Settlement(claim, Reply(claim.job_id, {"answer": claim.job_id}, None, {"infer": 2.0}))


def bad(claim: Claim, *, keep_image: bool = False) -> Settlement:
    return Settlement(claim, Reply(claim.job_id, failure=JobFailure("model-failed", "no")), keep_image)


def die(redis: Redis) -> None:
    """End every lease, as if the workers had died a while ago."""
    for name in (INTERACTIVE, BULK):
        for member in redis.zrange(f"rq:wip:{name}", 0, -1):
            redis.zadd(f"rq:wip:{name}", {member: time.time() - 1})


def keys_without_ttl(redis: Redis) -> set[bytes]:
    return {key for key in redis.scan_iter() if redis.ttl(key) == -1}


def test_a_batch_is_claimed_in_order_and_answered(queue: JobQueue) -> None:
    submit(queue, "a", "b", "c")
    claims = take(queue)
    assert ids(claims) == ["a", "b", "c"]
    assert queue.images(claims) == [b"image of a", b"image of b", b"image of c"]
    assert queue.settle("w1", [good(claim) for claim in claims]) == [True, True, True]
    replies = queue.replies("replies")
    assert [(reply.job_id, reply.result) for reply in replies] == [(x, {"answer": x}) for x in "abc"]
    assert replies[0].timing == {"infer": 2.0}


def test_a_claim_contains_the_requested_options(queue: JobQueue) -> None:
    options = Options(regions=(Region(1, 2, 30), Region(4, 5, 6)), top_n=7, consolidate=True)
    submit(queue, "a", options=options)
    (claim,) = take(queue)
    assert claim.options() == options
    assert (claim.request_id, claim.attempt, claim.queue) == ("r-a", 1, INTERACTIVE)
    assert claim.seconds_left is not None and 58 < claim.seconds_left <= 60


def test_no_job_data_stays_in_redis_without_a_ttl(queue: JobQueue, redis: Redis) -> None:
    submit(queue, "a", "b")
    first, second = take(queue)
    queue.settle("w1", [good(first), bad(second)])
    queue.reap()
    left = keys_without_ttl(redis)
    registries = {b"rq:finished:interactive", b"rq:failed:interactive"}
    assert left == registries | {b"rq:queues", b"classification:figures"}
    assert not redis.exists("image:a", "image:b", "classification:bytes")


def test_a_failed_job_is_answered_with_the_reason(queue: JobQueue) -> None:
    submit(queue, "a")
    queue.settle("w1", [bad(claim) for claim in take(queue)])
    (reply,) = queue.replies("replies")
    assert reply.failure is not None and reply.failure.to_json() == {"code": "model-failed", "detail": "no"}


def test_the_maximum_of_waiting_jobs_is_exact_under_concurrency(queue: JobQueue, redis: Redis) -> None:
    def submit_one(i: int) -> bool:
        try:
            submit(queue, f"j{i}")
        except QueueFull:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        accepted = sum(pool.map(submit_one, range(60)))
    assert accepted == 8 == redis.llen("rq:queue:interactive") == len(redis.keys("image:*"))


def test_the_maximum_of_bytes_applies_to_both_queues_together(queue: JobQueue, redis: Redis) -> None:
    queue.submit(*large("a", BULK))
    with pytest.raises(QueueFull, match="bytes"):
        queue.submit(*large("b"))
    queue.settle("w1", [good(claim) for claim in take(queue)])
    queue.submit(*large("b"))
    assert redis.get("classification:bytes") == b"6000"


def test_retry_after_is_the_queue_length_divided_by_the_measured_rate(queue: JobQueue, redis: Redis) -> None:
    redis.sadd("rq:workers:interactive", "rq:worker:w1", "rq:worker:w2")
    for worker in ("w1", "w2"):
        queue.fleet.publish(worker, {"id": "m"}, WorkerStatus(0.5, 32, 0.0))
    submit(queue, *"abcdefgh")
    with pytest.raises(QueueFull) as caught:
        submit(queue, "i")
    assert caught.value.retry_after == 8


def test_a_repeated_submission_is_one_job(queue: JobQueue, redis: Redis) -> None:
    submit(queue, "a", "a")
    assert redis.lrange("rq:queue:interactive", 0, -1) == [b"a"]
    assert redis.get("classification:bytes") == b"10"


def test_jobs_submitted_together_are_accepted_individually(queue: JobQueue, redis: Redis) -> None:
    submit(queue, *"abcdef")
    jobs = [NewJob(name, b"image", Options(), "", "replies") for name in ("g", "h", "i", "j")]
    first, second, *refused = queue.submit_each([(job, None) for job in jobs])
    assert (first, second) == ("", "")
    assert [str(each)[:40] for each in refused] == ["the interactive queue is full: 6 jobs wa"] * 2
    assert [key for key in map(redis.exists, ("image:g", "image:h", "image:i", "image:j"))] == [1, 1, 0, 0]
    assert ids(take(queue)) == list("abcdefgh")


@pytest.mark.parametrize("size", [1000, 100_000])
def test_small_and_large_images_arrive_unchanged(queue: JobQueue, redis: Redis, size: int) -> None:
    image = os.urandom(size)
    large_queue = JobQueue(redis, Settings())
    large_queue.submit_each([(NewJob("a", image, Options()), 60.0)])
    large_queue.submit([NewJob("b", image, Options())])
    claims = take(large_queue)
    assert large_queue.images(claims) == [image, image]
    assert 86_000 < redis.ttl("image:a") <= 86_400


def test_a_batch_is_counted_in_inputs(queue: JobQueue) -> None:
    regions = tuple(Region(0, 0, 9) for _ in range(20))
    submit(queue, "a", "b", options=Options(regions=regions))
    assert ids(take(queue)) == ["a"]
    assert take(queue, idle=False, interactive=12) == []
    assert ids(take(queue)) == ["b"]


def test_a_job_larger_than_a_batch_runs_alone(queue: JobQueue) -> None:
    submit(queue, "a", options=Options(regions=tuple(Region(0, 0, 9) for _ in range(70))))
    submit(queue, "b")
    assert ids(take(queue)) == ["a"]
    assert ids(take(queue)) == ["b"]


def test_interactive_jobs_go_first_and_bulk_does_not_starve(queue: JobQueue) -> None:
    submit(queue, "bulk1", "bulk2", queue_name=BULK)
    submit(queue, "i0", "i1")
    order = []
    for turn in range(2, 14):  # there is always another interactive job waiting
        submit(queue, f"i{turn}")
        order += ids(take(queue, interactive=1, bulk=1, idle=False))
    assert order == [f"i{n}" for n in range(8)] + ["bulk1"] + [f"i{n}" for n in range(8, 11)]


def test_bulk_waits_while_interactive_jobs_do(queue: JobQueue) -> None:
    submit(queue, "bulk1", queue_name=BULK)
    submit(queue, "i0")
    assert ids(take(queue)) == ["i0"]
    assert ids(take(queue)) == ["bulk1"]


def test_a_settled_lease_cannot_be_settled_again(queue: JobQueue) -> None:
    submit(queue, "a")
    (claim,) = take(queue)
    assert queue.settle("w1", [good(claim)]) == [True]
    assert queue.settle("w1", [bad(claim)]) == [False]
    assert len(queue.replies("replies")) == 1


def test_a_late_attempt_cannot_overwrite_the_next_one(queue: JobQueue, redis: Redis) -> None:
    submit(queue, "a")
    (old,) = take(queue, "w1")
    die(redis)
    assert queue.reap() == [("a", "requeued")]
    (new,) = take(queue, "w2")
    assert new.attempt == 2
    assert queue.settle("w1", [bad(old)]) == [False]
    assert queue.settle("w2", [good(new)]) == [True]
    assert queue.states(["a"])["a"].reply == Reply("a", {"answer": "a"}, None, {"infer": 2.0})


def test_only_one_of_many_attempts_delivers_the_result(redis: Redis) -> None:
    queue = JobQueue(redis, Settings(job_lease=0.03, job_max_attempts=1000))
    names = [f"j{number}" for number in range(40)]
    submit(queue, *names)
    delivered: list[str] = []

    def work(worker: str) -> None:
        end = time.monotonic() + 20
        while len(delivered) < len(names) and time.monotonic() < end:
            claims = take(queue, worker, interactive=3)
            time.sleep(random.choice((0.0, 0.06)))  # shorter or longer than the lease
            queue.reap()
            written = queue.settle(worker, [good(each) for each in claims]) if claims else []
            delivered.extend(itertools.compress(ids(claims), written))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, ("w1", "w2", "w3", "w4")))
    assert sorted(delivered) == sorted(names)
    assert {redis.xlen(f"rq:results:{name}") for name in names} == {1}
    messages = [queue.replies("replies") for _ in range(redis.llen("replies"))]
    assert sorted(reply.job_id for replies in messages for reply in replies) == sorted(names)
    attempts = [int(redis.hget(f"rq:job:{name}", "attempts") or 0) for name in names]
    assert max(attempts) > 1


def test_a_renewed_lease_holds_and_a_lost_lease_is_reported(queue: JobQueue, redis: Redis) -> None:
    submit(queue, "a", "b")
    claims = take(queue)
    die(redis)
    redis.zrem("rq:wip:interactive", f"b:{claims[1].execution}")
    assert queue.renew("w1", claims) == {claims[1].execution}
    assert queue.reap() == []


def test_a_job_fails_with_a_reason_after_the_last_attempt(queue: JobQueue, redis: Redis) -> None:
    submit(queue, "a")
    outcomes = []
    for _ in range(3):
        take(queue)
        die(redis)
        outcomes += queue.reap()
    assert outcomes == [("a", "requeued"), ("a", "requeued"), ("a", "failed")]
    (reply,) = queue.replies("replies")
    assert reply.failure is not None and reply.failure.code == "attempts-exhausted"
    assert FailedJobRegistry("interactive", connection=redis).get_job_ids() == ["a"]


def test_retried_jobs_run_separately_six_together_then_alone(queue: JobQueue, redis: Redis) -> None:
    submit(queue, *"abcdefg")
    take(queue)
    die(redis)
    queue.reap()
    submit(queue, "z")
    assert take(queue, idle=False) == []
    second = queue.claim("w2", ROOM, idle=True)
    assert (len(second.jobs), second.outcome) == (6, ClaimOutcome.RETRIED)
    die(redis)
    queue.reap()
    assert [len(take(queue)) for _ in range(6)] == [1] * 6
    assert [ids(take(queue)) for _ in range(3)] == [["a"], ["z"], []]


def test_the_last_of_two_attempts_is_alone(redis: Redis) -> None:
    queue = JobQueue(redis, Settings(job_max_attempts=2))
    submit(queue, "poison", "b", "c")
    take(queue)
    die(redis)
    queue.reap()
    order = []
    while claims := take(queue):
        order += [ids(claims)]
        if ids(claims) == ["poison"]:
            die(redis)
            assert queue.reap() == [("poison", "failed")]
        else:
            assert all(queue.settle("w2", [good(each) for each in claims]))
    assert sorted(order) == [["b"], ["c"], ["poison"]]


def test_retried_jobs_are_not_starved_by_the_other_queue(queue: JobQueue, redis: Redis) -> None:
    submit(queue, "a")
    submit(queue, "b", queue_name=BULK)
    take(queue), take(queue)
    die(redis)
    queue.reap()
    submit(queue, "c", queue_name=BULK)
    busy = queue.claim("w2", ROOM, idle=False)  # bulk would keep it busy, and "a" waiting, for ever
    assert (busy.jobs, busy.outcome) == ([], ClaimOutcome.NEEDS_IDLE)
    assert ids(take(queue)) == ["a"]
    order = []
    for number in range(10):  # an interactive job waits whenever the worker is idle
        submit(queue, f"i{number}")
        order += ids(take(queue))
    assert "b" in order


def test_a_claim_tells_a_full_batch_from_an_empty_queue(queue: JobQueue) -> None:
    submit(queue, "a", queue_name=BULK)
    assert queue.claim("w1", {INTERACTIVE: 32, BULK: 0}, idle=False).outcome is ClaimOutcome.NO_ROOM
    assert queue.claim("w1", {INTERACTIVE: 0, BULK: 32}, idle=False).jobs
    assert queue.claim("w1", ROOM, idle=False).outcome is ClaimOutcome.EMPTY


def test_given_back_jobs_are_first_again_and_count_as_fresh(queue: JobQueue) -> None:
    submit(queue, "a", "b", "c")
    queue.give_back("w1", take(queue, interactive=2))
    claims = take(queue, "w2", idle=False)
    assert ids(claims) == ["a", "b", "c"]
    assert [claim.attempt for claim in claims] == [1, 1, 1]


def test_begun_jobs_that_are_given_back_count_the_attempt_but_lose_no_retry(
    queue: JobQueue, redis: Redis
) -> None:
    submit(queue, "a")
    queue.give_back("w1", take(queue), begun=True)
    assert redis.hget("rq:job:a", "retries_left") == b"2"
    claims = queue.claim("w2", ROOM, idle=False)
    assert claims.outcome is ClaimOutcome.FRESH and claims.jobs[0].attempt == 2


def test_a_job_larger_than_a_reduced_batch_is_claimed(queue: JobQueue) -> None:
    submit(queue, "large", options=Options(regions=tuple(Region(0, 0, 9) for _ in range(9))))
    room = {INTERACTIVE: 8, BULK: 8}
    assert queue.claim("w1", room, idle=True).outcome is ClaimOutcome.NO_ROOM
    assert ids(queue.claim("w1", room, idle=True, full_batch=8).jobs) == ["large"]


def test_a_waiting_worker_wakes_at_once(queue: JobQueue) -> None:
    woken = []
    thread = threading.Thread(target=lambda: (queue.wait_for_work(2), woken.append(time.monotonic())))
    thread.start()
    time.sleep(0.2)
    start = time.monotonic()
    submit(queue, "a")
    thread.join()
    assert woken[0] - start < 1.0


def test_states_distinguish_ended_waiting_and_unknown_jobs(queue: JobQueue) -> None:
    submit(queue, "a", "b", "c", "d")
    done, failed, _ = take(queue, interactive=3)
    queue.settle("w1", [good(done), bad(failed)])
    found = queue.states(["a", "b", "c", "d", "unknown"], positions=True)
    assert [found[name].status for name in "abcd"] == ["finished", "failed", "started", "queued"]
    assert [found[name].position for name in "abcd"] == [None, None, None, 1]
    assert found["a"].reply == Reply("a", {"answer": "a"}, None, {"infer": 2.0})
    assert found["b"].reply is not None and found["b"].reply.failure is not None
    assert found["c"].reply is None and found["c"].attempts == 1 and found["c"].started_at
    assert "unknown" not in found


def test_either_all_jobs_of_a_request_are_accepted_or_none(queue: JobQueue, redis: Redis) -> None:
    nine = [NewJob(f"j{i}", b"x", Options()) for i in range(9)]
    with pytest.raises(QueueFull):
        queue.submit(nine)
    assert redis.dbsize() == 0
    queue.submit(nine[:8])
    assert redis.lrange("rq:queue:interactive", 0, -1) == [f"j{i}".encode() for i in range(8)]
    assert redis.get("classification:bytes") == b"8"


def test_a_watched_job_replies_to_every_watcher(queue: JobQueue) -> None:
    submit(queue, "a", "b")
    (claim,) = take(queue, interactive=1)
    assert queue.watch(["a", "b", "unknown"], "other") == {"unknown"}
    assert queue.watch(["a"], "other") == set()
    queue.settle("w1", [good(claim)])
    assert [reply.job_id for reply in queue.replies("replies")] == ["a"]
    assert [reply.job_id for reply in queue.replies("other")] == ["a"]
    assert queue.watch(["a", "b"], "other") == {"a"}


def test_a_canceled_waiting_job_leaves_no_data(queue: JobQueue, redis: Redis) -> None:
    submit(queue, "a", "b", "c")
    take(queue, interactive=1)
    assert [queue.cancel(name) for name in ("a", "b", "b", "unknown")] == [
        "started",
        "canceled",
        "canceled",
        "",
    ]
    assert ids(take(queue)) == ["c"]
    assert not redis.exists("image:b") and redis.get("classification:bytes") == b"20"
    (reply,) = queue.replies("replies")
    assert reply.failure is not None and (reply.job_id, reply.failure.code) == ("b", "canceled")
    assert rq_job(redis, "b").is_canceled
    assert CanceledJobRegistry("interactive", connection=redis).get_job_ids() == ["b"]


def test_a_job_with_a_foreign_function_is_refused(queue: JobQueue, redis: Redis) -> None:
    Queue("interactive", connection=redis, serializer=JSONSerializer).enqueue("os.system", "touch /tmp/owned")
    Queue("interactive", connection=redis).enqueue("os.system", "touch /tmp/owned")
    for claim in take(queue):
        with pytest.raises(ValueError, match="invalid job record"):
            claim.options()


def test_a_server_out_of_memory_refuses_new_jobs_and_finishes_accepted_jobs(
    queue: JobQueue, redis: Redis
) -> None:
    submit(queue, "a", "b", "c")
    (done,) = take(queue, interactive=1)
    redis.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(OutOfMemoryError):
            submit(queue, "refused")
        assert queue.renew("w1", [done]) == set()
        assert queue.settle("w1", [good(done)]) == [True]
        taken = take(queue)
        assert ids(taken) == ["b", "c"]
        queue.give_back("w1", taken)
        take(queue)
        redis.config_set("maxmemory", "0")
        die(redis)
        redis.config_set("maxmemory", "1mb")
        assert len(queue.reap()) == 2
    finally:
        redis.config_set("maxmemory", "0")
    assert not redis.exists("rq:job:refused", "image:refused")
    assert [reply.job_id for reply in queue.replies("replies")] == ["a"]


# -------------------------------------------------------------------- comparison with RQ


def rq_job(redis: Redis, job_id: str) -> Job:
    return Job.fetch(job_id, connection=redis, serializer=JSONSerializer)


def run_stock_worker(redis: Redis, monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    """Run all waiting jobs with RQ's own SimpleWorker, with `run` instead of our function."""
    module = types.ModuleType("worker.task")
    module.classify = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "worker.task", module)
    SimpleWorker(["interactive"], connection=redis, serializer=JSONSerializer).work(burst=True)


def hash_fields(redis: Redis, key: str) -> set[str]:
    return {name.decode() for name, value in redis.hgetall(key).items() if value}


@pytest.mark.parametrize("fails", [False, True])
def test_our_records_equal_the_records_of_rqs_own_worker(
    queue: JobQueue, redis: Redis, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    def stock(**kwargs: object) -> dict[str, object]:
        if fails:
            raise RuntimeError("no")
        return {"result": {"answer": "x"}, "timing": {"infer": 2.0}}

    submit(queue, "theirs")
    redis.hset("rq:job:theirs", "retries_left", 0)
    run_stock_worker(redis, monkeypatch, stock)
    submit(queue, "ours")
    (claim,) = take(queue)
    queue.settle("w1", [bad(claim) if fails else good(claim)])
    theirs, ours = rq_job(redis, "theirs"), rq_job(redis, "ours")
    assert theirs.get_status() == ours.get_status() == ("failed" if fails else "finished")
    assert hash_fields(redis, "rq:job:theirs") - {"repeats_left"} <= hash_fields(redis, "rq:job:ours")
    for attribute in (
        "func_name",
        "args",
        "kwargs",
        "origin",
        "timeout",
        "result_ttl",
        "failure_ttl",
        "description",
    ):
        assert getattr(theirs, attribute) == getattr(ours, attribute)
    for attribute in ("created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat"):
        assert type(getattr(theirs, attribute)) is type(getattr(ours, attribute))
    results = [job.latest_result() for job in (theirs, ours)]
    assert results[0].type == results[1].type
    assert (ours.return_value() is None) == fails == (theirs.return_value() is None)
    assert set(redis.xrange("rq:results:theirs")[0][1]) == set(redis.xrange("rq:results:ours")[0][1])
    kinds = {key.decode().rsplit(":", 1)[0]: redis.type(key) for key in redis.keys("rq:*")}
    assert {"rq:results", "rq:job"} <= kinds.keys()
    assert redis.keys("rq:execution*") == [] and redis.zcard("rq:wip:interactive") == 0
    ttls = [redis.ttl(f"rq:{kind}:{name}") for kind in ("job", "results") for name in ("theirs", "ours")]
    assert all(3500 < ttl <= 3600 for ttl in ttls)


def test_a_started_job_has_the_same_record_as_in_rq(
    queue: JobQueue, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def stock(**kwargs: object) -> None:
        seen["theirs"] = snapshot(redis, "theirs")

    submit(queue, "theirs")
    run_stock_worker(redis, monkeypatch, stock)
    submit(queue, "ours")
    take(queue)
    assert snapshot(redis, "ours") == seen["theirs"]


def snapshot(redis: Redis, job_id: str) -> dict[str, object]:
    (member,) = StartedJobRegistry("interactive", connection=redis).get_job_and_execution_ids(cleanup=False)
    (execution,) = rq_job(redis, job_id).get_executions()
    return {
        "status": rq_job(redis, job_id).get_status(),
        "started": member[0] == job_id,
        "execution": set(execution.serialize()),
        "worker": bool(execution.worker_name),
        "ttl": redis.ttl(f"rq:execution:{job_id}:{execution.id}") > 0,
    }


def test_rq_info_and_the_registries_read_a_used_queue(queue: JobQueue, redis: Redis, valkey: Valkey) -> None:
    submit(queue, "a", "b", "c")
    first, second, third = take(queue)
    queue.settle("w1", [good(first), bad(second)])
    text = rq_command(valkey.url, "info", "--raw")
    assert "queue interactive 0" in text
    queue_of_rq = Queue("interactive", connection=redis, serializer=JSONSerializer)
    assert FinishedJobRegistry(queue=queue_of_rq).get_job_ids() == ["a"]
    assert FailedJobRegistry(queue=queue_of_rq).get_job_ids() == ["b"]
    assert StartedJobRegistry(queue=queue_of_rq).get_job_ids() == [third.job_id]
    assert rq_job(redis, "b").latest_result().exc_string == "model-failed: no"


def test_a_failed_job_runs_again_after_rq_requeue(queue: JobQueue, redis: Redis, valkey: Valkey) -> None:
    submit(queue, "a")
    queue.settle("w1", [bad(claim, keep_image=True) for claim in take(queue)])
    queue.replies("replies")
    rq_command(valkey.url, "requeue", "--queue", "interactive", "a")
    claims = take(queue)
    assert ids(claims) == ["a"] and queue.images(claims) == [b"image of a"]
    assert queue.settle("w1", [good(claims[0])]) == [True]
    assert queue.states(["a"])["a"].reply == Reply("a", {"answer": "a"}, None, {"infer": 2.0})


def test_a_job_that_rqs_cleanup_queued_twice_runs_once(queue: JobQueue, redis: Redis) -> None:
    submit(queue, "a")
    take(queue, "dead")
    die(redis)
    queue.reap()
    (running,) = take(queue, "w2")
    redis.hset("rq:job:a", "status", "queued")  # RQ's cleanup writes this after the job was requeued
    redis.rpush("rq:queue:interactive", "a")
    assert take(queue, "w3") == []
    assert queue.settle("w2", [good(running)]) == [True]
    assert rq_job(redis, "a").get_status() == "finished"


def test_rqs_own_cleanup_requeues_a_dead_workers_job(queue: JobQueue, redis: Redis, valkey: Valkey) -> None:
    submit(queue, "a")
    take(queue, "dead")
    die(redis)
    rq_command(valkey.url, "info")
    claims = queue.claim("w2", ROOM, idle=True)
    assert ids(claims.jobs) == ["a"] and claims.outcome is ClaimOutcome.RETRIED


def test_a_job_canceled_with_rq_does_not_run(queue: JobQueue, redis: Redis) -> None:
    submit(queue, "a", "b")
    rq_job(redis, "a").cancel()
    redis.lpush("rq:queue:interactive", "a")  # a second entry that RQ did not find
    assert ids(take(queue)) == ["b"]
    assert not redis.exists("image:a") and redis.get("classification:bytes") == b"10"


def test_rq_suspend_stops_the_claims(queue: JobQueue, redis: Redis) -> None:
    submit(queue, "a")
    suspend(redis)
    assert queue.claim("w1", ROOM, idle=True).outcome is ClaimOutcome.SUSPENDED
    resume(redis)
    assert ids(take(queue)) == ["a"]


def test_the_record_is_json_and_not_a_pickle(queue: JobQueue, redis: Redis) -> None:
    submit(queue, "a")
    data = zlib.decompress(redis.hget("rq:job:a", "data"))
    assert data.startswith(b'["worker.task.classify", null, [], {')


def test_workers_are_counted_by_device(queue: JobQueue, redis: Redis) -> None:
    statuses = [("cpu", "Xeon"), ("gpu", "H200"), ("cpu", "Xeon"), None]
    for number, device in enumerate(statuses):
        redis.sadd("rq:workers:interactive", f"rq:worker:w{number}")
        queue.fleet.publish(f"w{number}", {"id": "m"}, WorkerStatus(1.0, 32, 0.0, device))
    old = {"model": "m", "jobs_per_second": 1.0, "batch": 32, "since": 0.0}  # as older versions publish it
    redis.sadd("rq:workers:interactive", "rq:worker:old")
    redis.set("classification:worker:old", json.dumps(old), ex=60)
    served = queue.fleet.served()
    assert served is not None and served.workers == 5
    assert served.devices == (("cpu", "Xeon", 2), ("gpu", "H200", 1))


def test_a_worker_without_heartbeats_is_not_listed(queue: JobQueue, redis: Redis, settings: Settings) -> None:
    short_lease = JobQueue(redis, dataclasses.replace(settings, job_lease=1))
    redis.sadd("rq:workers:interactive", "rq:worker:w1")
    short_lease.fleet.publish("w1", {"id": "m", "classes": ["á"]}, WorkerStatus(3.0, 32, 0.0))
    served = short_lease.fleet.served()
    assert served is not None and served.model["classes"] == ["á"] and served.workers == 1
    time.sleep(1.1)
    assert short_lease.fleet.served() is None
