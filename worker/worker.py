"""RQ's worker, with a loop that takes and settles jobs in batches.

RQ's part is the shell: registration, heartbeat, signals, `rq info`. The stages run in threads:

    main: claim, fetch, decode  ->  next batch  ->  "infer": the model  ->  "reply": decide, settle
    "lease": renews what is held, tells the gateways that this worker lives, requeues dead workers' jobs
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker, worker_registration
from rq.serializers import JSONSerializer

from shared.queue import QUEUES
from shared.queue.messages import WorkerStatus
from shared.queue.worker_client import WorkerQueue
from shared.settings import Settings
from worker.next_batch import NextBatch
from worker.decide import Decider
from worker.decode import PixelSpec
from worker.fetch_stage import FetchStage
from worker.inference_stage import InferenceStage, Model, Throughput
from worker.leased_jobs import LeasedJobs
from worker.redis_retry import RedisRetry
from worker.reply_stage import ReplyStage
from worker.worker_metrics import WorkerMetrics

logger = logging.getLogger(__name__)
logging.getLogger("rq.worker").setLevel(logging.WARNING)  # RQ sets it to INFO when it is imported


@dataclass(frozen=True)
class Service:
    """What a worker serves: the model, its rules, and the description that the gateways read."""

    model: Model
    decider: Decider
    spec: PixelSpec
    description: dict[str, Any]
    jobs_per_second: float


class BatchWorker(SimpleWorker):
    """An RQ worker for our two queues; `serve` runs until SIGTERM or SIGINT."""

    def __init__(self, redis: "Redis", settings: Settings, service: Service) -> None:
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
        queues = [Queue(each, connection=redis, serializer=JSONSerializer) for each in QUEUES]
        super().__init__(queues, name, connection=redis, serializer=JSONSerializer, worker_ttl=60)
        self._settings, self._service = settings, service
        self._jobs = WorkerQueue(redis, settings)
        self._held, self._patience = LeasedJobs(), RedisRetry()
        self._batch = NextBatch(settings.input_batch, settings.flush_interval)
        self._pace, self._figures = Throughput(service.jobs_per_second), WorkerMetrics()
        description = service.description
        identity = {"model": description["fingerprint"], "thresholds": description["thresholds"]}
        common = (self.name, self._jobs, self._held)
        self._replier = ReplyStage(
            *common, service.decider, identity, description["id"], self._patience, self._figures
        )
        self._taker = FetchStage(*common, self._batch, service.spec, self._refuse, self._patience)
        measured = (self._pace, self._figures)
        self._inferer = InferenceStage(service.model, self._batch, self._held, *measured, self._replier.put)
        self._since = time.time()
        self._stopped = threading.Event()
        self._ended = threading.Event()

    def serve(self) -> None:
        """Take jobs until told to stop; then finish what was begun and give back the rest."""
        self._install_signal_handlers()  # type: ignore[no-untyped-call]
        threads = [
            threading.Thread(target=self._repeat, args=(self._inferer.step,), name="infer"),
            threading.Thread(target=self._repeat, args=(self._replier.step,), name="reply"),
        ]
        lease = threading.Thread(target=self._repeat, args=(self._keep_leases,), name="lease", daemon=True)
        self._patience.insist(lambda: self.bootstrap(logging_level=None))
        for thread in (*threads, lease):
            thread.start()
        logger.info("worker %s takes jobs", self.name)
        self._repeat(self._take)
        self._drain(*threads)

    def _take(self) -> bool:
        try:
            self._taker.step()
        except RedisError as error:
            logger.warning("Redis does not answer (%s); no jobs are taken", error)
            self._stopped.wait(0.5)
        return not self._stopped.is_set()

    def _drain(self, infer: threading.Thread, reply: threading.Thread) -> None:
        rest = [each.claim for each in self._batch.close()]
        logger.info(
            "worker %s stops: %d jobs to finish, %d given back", self.name, len(self._held), len(rest)
        )
        try:
            self._patience.insist(lambda: self._jobs.fleet.unpublish(self.name))
            self._patience.insist(lambda: self._jobs.give_back(self.name, rest))
            self._held.drop(rest)
        except RedisError:
            logger.warning("Redis is away: the jobs go to other workers when their lease is over")
        infer.join()
        self._replier.close()
        reply.join()
        self._ended.set()
        try:
            self._send_figures()
            self.teardown()  # type: ignore[no-untyped-call]
        except RedisError as error:
            logger.warning("Redis is away (%s): this worker's registration runs out by itself", error)

    def _refuse(self, ended: list[Any]) -> None:
        self._replier.put([], ended)

    def _repeat(self, step: Callable[[], bool]) -> None:
        """A stage's loop: a stage that breaks ends the process, and its jobs go to another worker."""
        try:
            while step():
                pass
        except Exception:
            if not self._stopped.is_set():
                logger.critical("a stage of the worker broke; the worker ends", exc_info=True)
                os._exit(1)

    # ---------------------------------------------------------------- signs of life

    def _keep_leases(self) -> bool:
        self._end_if_hung()
        try:
            self._beat()
        except RedisError as error:
            logger.warning("Redis does not answer (%s); leases are not renewed", error)
        return not self._ended.wait(min(self._settings.job_lease / 3, 2.0))

    def _end_if_hung(self) -> None:
        """What hangs is beyond help within its process; whoever started this one starts another."""
        seconds = self._settings.batch_timeout
        for stage, watched in (("the model", self._inferer), ("decoding", self._taker)):
            if seconds and (claims := watched.hung(seconds)):
                requests = [each.request_id or each.job_id for each in claims]
                logger.critical(
                    "%s has not ended for %g s (BATCH_TIMEOUT): the worker ends, others take its jobs; "
                    "requests %s",
                    *(stage, seconds, ", ".join(requests)),
                    extra={"requests": requests},
                )
                os._exit(1)

    def _beat(self) -> None:
        """First what holds or frees jobs: it works on a server that is out of memory, the rest does not."""
        self._held.lose(self._jobs.renew(self.name, self._held.all()))
        for job_id, word in self._jobs.reap():
            logger.warning(
                "job %s: its worker died; %s", job_id, "queued again" if word == "again" else "failed"
            )
        if not self._stopped.is_set():
            status = WorkerStatus(self._pace.jobs_per_second, self._service.model.input_batch, self._since)
            self._jobs.fleet.publish(self.name, self._service.description, status)
        self._register()
        self._send_figures()

    def _send_figures(self) -> None:
        self._figures.send(lambda number, amounts: self._jobs.count(self.name, number, amounts))

    def _register(self) -> None:
        """Stand in RQ's lists of workers; anew each time, for a Redis server that lost its data."""
        with self.connection.pipeline(transaction=False) as pipe:
            pipe.hset(self.key, mapping=self.serialize() | {"state": "busy" if self._held else "idle"})
            worker_registration.register(self, pipe)
            self.heartbeat(pipeline=pipe)
            pipe.execute()

    # ---------------------------------------------------------------- what RQ's shell calls

    def _set_connection(self, connection: "Redis") -> "Redis":
        """Keep the timeouts of `shared.redis_connection`; RQ would raise them to minutes."""
        return connection

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """RQ's handler of a second signal: end now, and leave what is held to other workers.

        A signal within a second of the first is the same one, sent by two.
        """
        first = self._shutdown_requested_date
        if first is not None and (datetime.now(UTC) - first).total_seconds() >= 1:
            logger.warning("worker %s ends at once; %d jobs go to other workers", self.name, len(self._held))
            os._exit(1)

    def _shutdown(self) -> None:
        """RQ calls this from its signal handler."""
        self._patience.stop()
        self._stopped.set()


def wait_for_redis(redis: "Redis") -> None:
    """Return when the Redis server answers; SIGTERM ends the wait as it ends any process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        try:
            redis.ping()
            return
        except RedisError as error:
            logger.warning("Redis does not answer yet: %s", error)
            time.sleep(1)
