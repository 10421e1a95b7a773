"""An RQ worker that runs the stages of `worker/pipeline.py` in the place of RQ's main loop.

RQ provides registration, heartbeat, signal handlers and `rq info`. The thread "lease" renews this worker's
leases, publishes its status and requeues the jobs of dead workers.
"""

import logging
import os
import signal
import socket
import threading
import time
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
from worker.pipeline import Pipeline, Service, end_process

logger = logging.getLogger(__name__)
logging.getLogger("rq.worker").setLevel(logging.WARNING)  # RQ sets this level to INFO when RQ is imported


class BatchWorker(QuietWorker):
    """An RQ worker for the interactive and the bulk queue; `serve` runs until SIGTERM or SIGINT."""

    def __init__(self, redis: "Redis", settings: Settings, service: Service) -> None:
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
        queues = [Queue(each, connection=redis, serializer=JSONSerializer) for each in QUEUES]
        super().__init__(queues, name, connection=redis, serializer=JSONSerializer, worker_ttl=60)
        self._settings, self._service = settings, service
        self._jobs = WorkerQueue(redis, settings)
        self._pipeline = Pipeline(worker=name, queue=self._jobs, settings=settings, service=service)
        self._held, self._started = self._pipeline.held, time.time()
        self._ended = threading.Event()

    def serve(self) -> None:
        """Run jobs until a signal stops the worker.

        After the signal, the worker finishes running jobs and gives waiting jobs back to their queue. If the
        model's device is lost, the worker gives all jobs back and ends the process with status 1.
        """
        self.install_signal_handlers()
        lease = threading.Thread(
            target=self._pipeline.repeat, args=(self._keep_leases,), name="lease", daemon=True
        )
        self._pipeline.retry.call(lambda: self.bootstrap(logging_level=None))
        self._pipeline.start()
        lease.start()
        logger.info("worker started: %s", self.name)
        self._pipeline.run()
        self._pipeline.drain()
        self._ended.set()
        self._leave()
        if self._pipeline.device_error:
            end_process(logging.WARNING, "worker ended: %s, because its device was lost", self.name)

    def _leave(self) -> None:
        try:
            self._send_metrics()
            self.teardown()  # type: ignore[no-untyped-call]
        except RedisError as error:
            logger.warning("Redis unreachable: %s; this worker's registration expires later", error)

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
        for name, claims in self._pipeline.hung(seconds).items() if seconds else ():
            requests = [claim.request_id or claim.job_id for claim in claims]
            end_process(
                logging.CRITICAL,
                "%s has taken longer than %g s (BATCH_TIMEOUT): the worker ends, other workers get its"
                " jobs; requests %s",
                *(name, seconds, ", ".join(requests)),
                extra={"requests": requests},
            )

    def _send_heartbeat(self) -> None:
        # Commands that renew or free leases come first, because they also work when Redis' memory is full.
        self._held.mark_lost(self._jobs.renew(self.name, self._held.all()))
        for job_id, outcome in self._jobs.reap():
            logger.warning("job %s %s: its worker died", job_id, outcome)
        if not self._pipeline.is_stopping:
            device = self._service.device
            status = WorkerStatus(
                jobs_per_second=self._pipeline.throughput.jobs_per_second,
                batch=self._service.model.input_batch,
                since=self._started,
                device=(device.kind, device.name),
            )
            self._jobs.fleet.publish(self.name, self._service.description, status)
        self._register()
        self._send_metrics()

    def _send_metrics(self) -> None:
        self._pipeline.metrics.send(lambda number, amounts: self._jobs.count(self.name, number, amounts))

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
        self._pipeline.stop()

    def on_forced_stop(self) -> None:
        """End the process now, and leave this worker's jobs to other workers."""
        message = "worker ended at once: %s; other workers get %d jobs"
        end_process(logging.WARNING, message, self.name, len(self._held))


def wait_for_redis(redis: "Redis") -> None:
    """Wait until the Redis server answers. During this wait, SIGTERM ends the process at once."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    wait_until_reachable(redis)
