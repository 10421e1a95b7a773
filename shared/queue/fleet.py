"""What workers publish about themselves, and how gateways read it."""

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
"""Maximum time for which the reason of a worker's failed start is reported, in seconds."""

START_FAILURES_KEY = "classification:start-failures"


class Fleet:
    """The workers of one queue server; each entry lives for one lease of `lease` seconds.

    Every method may raise `redis.exceptions.RedisError`.
    """

    def __init__(self, redis: "Redis", lease: float) -> None:
        self._redis, self._lease = redis, lease

    def served(self) -> Served | None:
        """What the live workers serve, or None where no worker is alive with a warm model."""
        alive = sorted(self.alive().values(), key=lambda each: -each["since"])
        counts = Counter(each["model"] for each in alive)  # in that order, too
        told = self._redis.mget([f"classification:model:{model}" for model in counts]) if counts else []
        models = tuple((json.loads(each), n) for each, n in zip(told, counts.values(), strict=True) if each)
        if not models:
            return None
        speed = sum(each["jobs_per_second"] for each in alive)
        return Served(models[0][0], len(alive), speed, models, min(each["batch"] for each in alive))

    def start_failures(self) -> list[StartFailure]:
        """Why workers did not start, of the last `START_FAILURE_TTL` seconds; the latest first."""
        raw: dict[bytes, bytes] = self._redis.hgetall(START_FAILURES_KEY)  # type: ignore[assignment]
        told = (StartFailure(host.decode(), **json.loads(each)) for host, each in raw.items())
        recent = (each for each in told if each.at > time.time() - START_FAILURE_TTL)
        return sorted(recent, key=lambda each: -each.at)

    def alive(self) -> dict[str, dict[str, Any]]:
        """What each worker told that is alive with a warm model, by the worker's name."""
        keys: set[bytes] = self._redis.smembers(f"rq:workers:{INTERACTIVE}")  # type: ignore[assignment]
        names = [key.decode().removeprefix("rq:worker:") for key in sorted(keys)]
        raw = self._redis.mget([f"classification:worker:{name}" for name in names]) if names else []
        return {name: json.loads(each) for name, each in zip(names, raw, strict=True) if each}

    def publish(self, worker: str, model: dict[str, Any], status: WorkerStatus) -> None:
        """Tell the gateways that `worker` is alive, what it serves and how it does; for one lease."""
        ttl = math.ceil(self._lease)
        told = json.dumps({"model": model["id"], **asdict(status)})
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(f"classification:model:{model['id']}", json.dumps(model, ensure_ascii=False), ex=10 * ttl)
        pipe.set(f"classification:worker:{worker}", told, ex=ttl)
        pipe.execute()

    def fail_start(self, host: str, reason: str) -> None:
        """Tell the gateways why the worker of a host does not start; its next one may."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hset(START_FAILURES_KEY, host, json.dumps({"reason": reason, "at": time.time()}))
        pipe.expire(START_FAILURES_KEY, START_FAILURE_TTL)
        pipe.execute()

    def started(self, host: str) -> None:
        """Tell the gateways that a worker of a host has started: what stopped an earlier one is mended."""
        self._redis.hdel(START_FAILURES_KEY, host)

    def unpublish(self, worker: str) -> None:
        """Tell the gateways that `worker` takes no more jobs."""
        self._redis.delete(f"classification:worker:{worker}")
