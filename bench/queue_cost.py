"""What a job costs Redis and its clients, by batch and by what stands there: `python -m bench.queue_cost`.

The jobs go through the queue's own code on an embedded server: submitted, claimed and settled, nothing else.
"""

import time
from collections.abc import Callable
from uuid import uuid4

from redis import Redis

from shared.connection import connect
from shared.job import Options
from shared.queue import BULK, INTERACTIVE, JobQueue
from shared.records import Claim, Ending, NewJob, Reply
from shared.settings import Settings
from tests.valkey import Valkey

JOBS, STORED, IMAGE = 3200, (100_000, 1_000_000), b"x" * 1000
RESULT = {
    "regions": [
        {
            "region": None,
            "predictions": [{"class": "Genus species leaf", "score": 0.5, "accepted": True, "threshold": 0.5}]
            * 5,
        }
    ],
    "model": "f" * 64,
    "thresholds": "t" * 64,
}
TIMING = {"queue": 1.0, "decode": 1.0, "infer": 1.0}


def main() -> None:
    """Print both tables."""
    server = Valkey()
    redis = connect(server.url)
    queue = JobQueue(redis, Settings(queue_size=10**6, bulk_queue_size=10**7, max_queue_bytes=2**40))
    print(
        "Microseconds a job: submit, claim, settle in Redis | the same of the client's CPU\n\njobs together"
    )
    for together in (1, 8, 32):
        redis.flushall()
        print(f"{together:7} | {_row(queue, redis, together)}")
    print("\nwaiting, by 32")
    redis.flushall()
    for waiting in (10, 1000, 100_000):
        _fill(queue, waiting - int(redis.llen("rq:queue:bulk")))  # type: ignore[arg-type]
        print(f"{waiting:7} | {_row(queue, redis, 32)}")
    stored, empty = 0, _megabytes(redis)
    for count in STORED:
        _store(queue, count - stored)
        stored = count
        print(f"and {stored} results stored\n{waiting:7} | {_row(queue, redis, 32)}")
    print(f"\nmemory of a stored result: {(_megabytes(redis) - empty) * 1e6 / stored:.0f} bytes")
    server.remove()


def _row(queue: JobQueue, redis: "Redis", together: int) -> str:
    claims: list[list[Claim]] = []
    room = {INTERACTIVE: together, BULK: 0}

    def submit() -> None:
        queue.submit_each([(_job(), 60.0) for _ in range(together)])

    def claim() -> None:
        claims.append(queue.claim("w", room, idle=True).jobs)

    def settle() -> None:
        queue.settle("w", [Ending(each, Reply(each.job_id, RESULT, None, TIMING)) for each in claims.pop()])

    costs = [_cost(redis, step, JOBS // together) for step in (submit, claim, settle)]
    server, client = ([f"{cost[side] / together:6.1f}" for cost in costs] for side in (0, 1))
    return f"{' '.join(server)} | {' '.join(client)}"


def _cost(redis: "Redis", step: Callable[[], None], times: int) -> tuple[float, float]:
    """Microseconds of the server's time in scripts, and of this process's CPU, for one call."""
    before, cpu = _scripts(redis), time.process_time()
    for _ in range(times):
        step()
    spent = time.process_time() - cpu
    return (_scripts(redis) - before) / times, spent * 1e6 / times


def _scripts(redis: "Redis") -> float:
    found = redis.info("commandstats").get("cmdstat_evalsha", {})  # type: ignore[union-attr]
    return float(found.get("usec", 0))


def _megabytes(redis: "Redis") -> float:
    return float(redis.info("memory")["used_memory"]) / 1e6  # type: ignore[index]


def _job() -> NewJob:
    return NewJob(uuid4().hex, IMAGE, Options(), "request", "classification:reply:nobody")


def _fill(queue: JobQueue, count: int) -> None:
    for start in range(0, max(count, 0), 1000):
        queue.submit([_job() for _ in range(min(1000, count - start))], BULK)


def _store(queue: JobQueue, count: int) -> None:
    for _ in range(0, count, 500):
        queue.submit_each([(_job(), 60.0) for _ in range(500)])
        claims = queue.claim("w", {INTERACTIVE: 500, BULK: 0}, idle=True).jobs
        queue.settle("w", [Ending(each, Reply(each.job_id, RESULT, None, TIMING)) for each in claims])


if __name__ == "__main__":
    main()
