"""The status of the workers. Each worker publishes its status in Redis, and the gateways read this status."""

import json
import math
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from redis import Redis

from shared.queue import INTERACTIVE
from shared.queue.messages import Served, StartFailure, WorkerDevice, WorkerStatus

START_FAILURE_TTL = 3600
"""Number of seconds for which gateways report the reason why a worker did not start."""

START_FAILURES_KEY = "classification:start-failures"


class Fleet:
    """The workers that use one Redis server.

    Redis deletes a worker's status `JOB_LEASE` seconds after the worker last published the status.

    Every method may raise `redis.exceptions.RedisError`.
    """

    def __init__(self, redis: "Redis", lease: float) -> None:
        self._redis, self._lease = redis, lease

    def served(self) -> Served | None:
        """Return the models and the total speed of the live workers.

        If no live worker has warmed up its model, the method returns None.
        """
        alive = sorted(self.alive().values(), key=lambda each: -each["since"])
        workers = Counter(each["model"] for each in alive)  # the newest worker's model stays first
        raw = self._get([f"classification:model:{model}" for model in workers])
        counted = zip(raw, workers.values(), strict=True)
        models = tuple((json.loads(model), count) for model, count in counted if model)
        if not models:
            return None
        speed = sum(each["jobs_per_second"] for each in alive)
        batch = min(each["batch"] for each in alive)
        return Served(models[0][0], len(alive), speed, models, batch, _devices(alive))

    def start_failures(self) -> list[StartFailure]:
        """Return the failed starts of workers in the last `START_FAILURE_TTL` seconds.

        The list begins with the latest failed start.
        """
        raw: dict[bytes, bytes] = self._redis.hgetall(START_FAILURES_KEY)  # type: ignore[assignment]
        failures = (StartFailure(host.decode(), **json.loads(each)) for host, each in raw.items())
        recent = (each for each in failures if each.at > time.time() - START_FAILURE_TTL)
        return sorted(recent, key=lambda each: -each.at)

    def alive(self) -> dict[str, dict[str, Any]]:
        """Return a dictionary from worker names to statuses.

        The dictionary contains each live worker that has warmed up its model.
        """
        keys: set[bytes] = self._redis.smembers(f"rq:workers:{INTERACTIVE}")  # type: ignore[assignment]
        names = [key.decode().removeprefix("rq:worker:") for key in sorted(keys)]
        raw = self._get([f"classification:worker:{name}" for name in names])
        return {name: json.loads(each) for name, each in zip(names, raw, strict=True) if each}

    def _get(self, keys: list[str]) -> list[Any]:
        return self._redis.mget(keys) if keys else []  # without keys, the Redis command MGET would fail

    def publish(self, worker: str, model: dict[str, Any], status: WorkerStatus) -> None:
        """Publish a worker's model and status, as a sign that the worker is alive.

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
        """Delete a host's published start failure. Call this method when a worker of the host has started."""
        self._redis.hdel(START_FAILURES_KEY, host)


def _devices(statuses: list[dict[str, Any]]) -> tuple[WorkerDevice, ...]:
    """Return the devices in the workers' statuses, in alphabetical order."""
    counted = Counter(tuple(each["device"]) for each in statuses if each.get("device"))
    return tuple(WorkerDevice(kind, name, workers) for (kind, name), workers in sorted(counted.items()))
