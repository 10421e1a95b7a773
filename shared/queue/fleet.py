"""The status of the workers: each worker publishes its own status in Redis, and gateways read it."""

import json
import math
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from redis import Redis

from shared.queue import INTERACTIVE
from shared.queue.messages import Served, StartFailure, WorkerStatus

START_FAILURE_TTL = 3600
"""Time for which gateways report the reason why a worker did not start, in seconds."""

START_FAILURES_KEY = "classification:start-failures"


class Fleet:
    """The workers that use one Redis server.

    A worker's status in Redis expires `JOB_LEASE` seconds after the worker's last heartbeat.

    Every method may raise `redis.exceptions.RedisError`.
    """

    def __init__(self, redis: "Redis", lease: float) -> None:
        self._redis, self._lease = redis, lease

    def served(self) -> Served | None:
        """Return the live workers' models and total speed, or None if no worker has warmed up its model."""
        alive = sorted(self.alive().values(), key=lambda each: -each["since"])
        workers = Counter(each["model"] for each in alive)  # the newest worker's model stays first
        raw = self._get([f"classification:model:{model}" for model in workers])
        counted = zip(raw, workers.values(), strict=True)
        models = tuple((json.loads(model), count) for model, count in counted if model)
        if not models:
            return None
        speed = sum(each["jobs_per_second"] for each in alive)
        return Served(models[0][0], len(alive), speed, models, min(each["batch"] for each in alive))

    def start_failures(self) -> list[StartFailure]:
        """Return the workers' failed starts in the last `START_FAILURE_TTL` seconds, latest failure first."""
        raw: dict[bytes, bytes] = self._redis.hgetall(START_FAILURES_KEY)  # type: ignore[assignment]
        failures = (StartFailure(host.decode(), **json.loads(each)) for host, each in raw.items())
        recent = (each for each in failures if each.at > time.time() - START_FAILURE_TTL)
        return sorted(recent, key=lambda each: -each.at)

    def alive(self) -> dict[str, dict[str, Any]]:
        """Return the status of each live worker that has warmed up its model, by the worker's name."""
        keys: set[bytes] = self._redis.smembers(f"rq:workers:{INTERACTIVE}")  # type: ignore[assignment]
        names = [key.decode().removeprefix("rq:worker:") for key in sorted(keys)]
        raw = self._get([f"classification:worker:{name}" for name in names])
        return {name: json.loads(each) for name, each in zip(names, raw, strict=True) if each}

    def _get(self, keys: list[str]) -> list[Any]:
        return self._redis.mget(keys) if keys else []  # without keys, the Redis command MGET would fail

    def publish(self, worker: str, model: dict[str, Any], status: WorkerStatus) -> None:
        """Publish that `worker` is alive, with its model and status.

        Redis deletes the status after `JOB_LEASE` seconds unless the worker publishes its status again.
        """
        ttl = math.ceil(self._lease)
        entry = json.dumps({"model": model["id"], **asdict(status)})
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(f"classification:model:{model['id']}", json.dumps(model, ensure_ascii=False), ex=10 * ttl)
        pipe.set(f"classification:worker:{worker}", entry, ex=ttl)
        pipe.execute()

    def unpublish(self, worker: str) -> None:
        """Delete the published status of a worker that will claim no more jobs."""
        self._redis.delete(f"classification:worker:{worker}")

    def fail_start(self, host: str, reason: str) -> None:
        """Publish the reason why a host's worker did not start."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hset(START_FAILURES_KEY, host, json.dumps({"reason": reason, "at": time.time()}))
        pipe.expire(START_FAILURES_KEY, START_FAILURE_TTL)
        pipe.execute()

    def started(self, host: str) -> None:
        """Delete a host's published start failure, because a worker of this host has started."""
        self._redis.hdel(START_FAILURES_KEY, host)
