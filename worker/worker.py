"""An RQ worker whose own main loop claims jobs in batches.

RQ provides registration, heartbeat, signal handlers and `rq info`. The worker's stages run in threads:

    main: claim, fetch, decode  ->  next batch  ->  "infer": the model  ->  "reply": decide, settle
    "lease": renews this worker's leases, publishes its status, requeues the jobs of dead workers
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, worker_registration
from rq.serializers import JSONSerializer

from shared.queue import QUEUES
from shared.queue.messages import WorkerStatus
from shared.queue.worker_client import WorkerQueue
from shared.redis_connection import wait_until_reachable
from shared.rq_compat import QuietWorker
from shared.settings import Settings
from worker.decide import Decider
from worker.decode import PixelSpec
from worker.devices import Device
from worker.fetch_stage import FetchStage
from worker.inference_stage import InferenceStage, Model, Throughput
from worker.leased_jobs import LeasedJobs
from worker.next_batch import NextBatch
from worker.redis_retry import RedisRetry
from worker.reply_stage import ReplyStage
from worker.worker_metrics import WorkerMetrics

logger = logging.getLogger(__name__)
logging.getLogger("rq.worker").setLevel(logging.WARNING)  # RQ sets this level to INFO when RQ is imported

IDENTITY = {"model": "fingerprint", "thresholds": "thresholds", "precision": "precision"}
"""Fields of each result, with the names of the fields in the model description from which they come."""


@dataclass(frozen=True)
class Service:
    """The model, the rules for its answers, and the model's description for the gateways."""

    model: Model
    decider: Decider
    spec: PixelSpec
    description: dict[str, Any]
    jobs_per_second: float
    warm_up: Callable[[], None]
    device: Device


class BatchWorker(QuietWorker):
    """An RQ worker for the interactive and the bulk queue; `serve` runs until SIGTERM or SIGINT."""

    def __init__(self, redis: "Redis", settings: Settings, service: Service) -> None:
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
        queues = [Queue(each, connection=redis, serializer=JSONSerializer) for each in QUEUES]
        super().__init__(queues, name, connection=redis, serializer=JSONSerializer, worker_ttl=60)
        self._settings, self._service = settings, service
        self._jobs = WorkerQueue(redis, settings)
        self._held, self._retry = LeasedJobs(), RedisRetry()
        self._batch = NextBatch(settings.input_batch, settings.flush_interval)
        self._throughput, self._metrics = Throughput(service.jobs_per_second), WorkerMetrics()
        self._started = time.time()
        self._stopped = threading.Event()
        self._ended = threading.Event()
        self._connect_stages(service.description)

    def _connect_stages(self, description: dict[str, Any]) -> None:
        self._reply_stage = ReplyStage(
            worker=self.name,
            queue=self._jobs,
            held=self._held,
            decider=self._service.decider,
            identity={name: description[source] for name, source in IDENTITY.items()},
            description_id=description["id"],
            retry=self._retry,
            metrics=self._metrics,
        )
        self._inference_stage = InferenceStage(
            model=self._service.model,
            batch=self._batch,
            held=self._held,
            throughput=self._throughput,
            metrics=self._metrics,
            reply=self._reply_stage.put,
        )
        self._fetch_stage = FetchStage(
            worker=self.name,
            queue=self._jobs,
            held=self._held,
            batch=self._batch,
            spec=self._service.spec,
            refuse=partial(self._reply_stage.put, []),
            retry=self._retry,
        )

    def serve(self) -> None:
        """Run jobs until a signal stops the worker.

        After the signal, the worker finishes running jobs and gives waiting jobs back to their queue.
        """
        self.install_signal_handlers()
        thread = partial(threading.Thread, target=self._repeat)
        infer = thread(args=(self._inference_stage.step,), name="infer")
        reply = thread(args=(self._reply_stage.step,), name="reply")
        lease = thread(args=(self._keep_leases,), name="lease", daemon=True)
        self._retry.call(lambda: self.bootstrap(logging_level=None))
        for each in (infer, reply, lease):
            each.start()
        logger.info("worker started: %s", self.name)
        self._repeat(self._fetch)
        self._drain(infer, reply)

    def _fetch(self) -> bool:
        try:
            self._fetch_stage.step()
        except RedisError as error:
            logger.warning("Redis unreachable: %s; no jobs are claimed", error)
            self._stopped.wait(0.5)
        return not self._stopped.is_set()

    def _drain(self, infer: threading.Thread, reply: threading.Thread) -> None:
        rest = [job.claim for job in self._batch.close()]
        logger.info("worker stopping: %s, %d of %d jobs given back", self.name, len(rest), len(self._held))
        try:
            self._retry.call(lambda: self._jobs.fleet.unpublish(self.name))
            self._retry.call(lambda: self._jobs.give_back(self.name, rest))
            self._held.remove(rest)
        except RedisError:
            logger.warning("Redis unreachable: other workers get this worker's jobs when the leases end")
        infer.join()
        self._reply_stage.close()
        reply.join()
        self._ended.set()
        try:
            self._send_metrics()
            self.teardown()  # type: ignore[no-untyped-call]
        except RedisError as error:
            logger.warning("Redis unreachable: %s; this worker's registration expires later", error)

    def _repeat(self, step: Callable[[], bool]) -> None:
        """Call `step` until `step` returns False.

        If `step` raises an exception, the process ends, and other workers get its jobs.
        """
        try:
            while step():
                pass
        except Exception:
            if not self._stopped.is_set():
                logger.critical("worker stage failed; the worker ends", exc_info=True)
                os._exit(1)

    # ---------------------------------------------------------------- leases and heartbeat

    def _keep_leases(self) -> bool:
        self._end_if_hung()
        try:
            self._send_heartbeat()
        except RedisError as error:
            logger.warning("Redis unreachable: %s; leases are not renewed", error)
        return not self._ended.wait(min(self._settings.job_lease / 3, 2.0))

    def _end_if_hung(self) -> None:
        """End the process if the model or the decoding hangs. The supervisor then starts another worker."""
        seconds = self._settings.batch_timeout
        for name, stage in (("the model", self._inference_stage), ("decoding", self._fetch_stage)):
            if seconds and (claims := stage.hung(seconds)):
                requests = [claim.request_id or claim.job_id for claim in claims]
                logger.critical(
                    "%s has taken longer than %g s (BATCH_TIMEOUT): the worker ends, other workers get its"
                    " jobs; requests %s",
                    *(name, seconds, ", ".join(requests)),
                    extra={"requests": requests},
                )
                os._exit(1)

    def _send_heartbeat(self) -> None:
        # Commands that renew or free leases come first, because they also work when Redis' memory is full.
        self._held.mark_lost(self._jobs.renew(self.name, self._held.all()))
        for job_id, outcome in self._jobs.reap():
            logger.warning("job %s %s: its worker died", job_id, outcome)
        if not self._stopped.is_set():
            service, device = self._service, self._service.device
            status = WorkerStatus(
                jobs_per_second=self._throughput.jobs_per_second,
                batch=service.model.input_batch,
                since=self._started,
                device=(device.kind, device.name),
            )
            self._jobs.fleet.publish(self.name, self._service.description, status)
        self._register()
        self._send_metrics()

    def _send_metrics(self) -> None:
        self._metrics.send(lambda number, amounts: self._jobs.count(self.name, number, amounts))

    def _register(self) -> None:
        """Register this worker in RQ's lists.

        Each heartbeat repeats the registration, because Redis may lose data.
        """
        with self.connection.pipeline(transaction=False) as pipe:
            pipe.hset(self.key, mapping=self.serialize() | {"state": "busy" if self._held else "idle"})
            worker_registration.register(self, pipe)
            self.heartbeat(pipeline=pipe)
            pipe.execute()

    # ---------------------------------------------------------------- signals

    def on_stop(self) -> None:
        """Stop claiming jobs."""
        self._retry.start_grace_period()
        self._stopped.set()

    def on_forced_stop(self) -> None:
        """End the process now, and leave this worker's jobs to other workers."""
        logger.warning("worker ended at once: %s; other workers get %d jobs", self.name, len(self._held))
        os._exit(1)


def wait_for_redis(redis: "Redis") -> None:
    """Wait until the Redis server answers. During this wait, SIGTERM ends the process at once."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    wait_until_reachable(redis)
