"""The worker's stages in order, from a claimed job to its result in Redis.

The way of a job through the threads:

    main      FetchStage      claim jobs, fetch their images, decode the images on all cores or on the card;
                  |           `FETCH_THREADS` threads do this at once
                  |           NextBatch: collects decoded jobs while the model is busy
    infer     InferenceStage  run the model on a batch; `BATCHES_IN_FLIGHT` threads do this at once
                  |           SimpleQueue: the scores of whole batches
    reply     ReplyStage      decide (Decider: scores into predictions), then reply (write results to Redis)

A job that fails before the model runs goes from the first stage directly to the last stage. Redis holds each
job under this worker's lease from the claim to the reply (`LeasedJobs`).
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from redis.exceptions import RedisError

from shared.queue.messages import Claim
from shared.queue.worker_client import WorkerQueue
from shared.settings import Settings
from worker.decide import Decider
from worker.decode import PixelSpec
from worker.decoders import make_decoder
from worker.devices import Device
from worker.fetch_stage import FetchStage
from worker.inference_stage import BatchResult, InferenceStage, Model, Throughput, reason
from worker.leased_jobs import LeasedJobs
from worker.next_batch import NextBatch
from worker.redis_retry import RedisRetry
from worker.reply_stage import ReplyStage
from worker.worker_metrics import WorkerMetrics

logger = logging.getLogger(__name__)

BATCHES_IN_FLIGHT: Mapping[str, int] = {"cpu": 1, "gpu": 3}
"""Number of batches that are under way at once, by the kind of the device.

On a card, one batch is copied to the card while another batch runs and the scores of a third batch are
copied back. Measured on an H200 with batches of 32 inputs, two batches had 1.5 times and three batches had
1.65 times the speed of one batch. On a CPU, one batch uses all cores."""

IDENTITY = {"model": "fingerprint", "thresholds": "thresholds", "precision": "precision"}
"""Fields of each result, with the names of the fields in the model description from which they come."""

FETCH_THREADS: Mapping[str, int] = {"cpu": 1, "gpu": 2}
"""Number of threads that claim, fetch and decode jobs, by the kind of the device.

A card scores a batch in a few milliseconds, so one thread fetches images while another thread decodes."""

LOST_SECONDS = 10.0
"""Maximum duration of an orderly end after the device is lost, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """The model, the rules for its answers, and the model's description for the gateways.

    `warm_up` prepares larger runs of the model while jobs already run.
    `is_device_lost` returns whether an error of the model means that the model's device works no more, so
    that each later run would fail too.
    """

    model: Model
    decider: Decider
    spec: PixelSpec
    description: dict[str, Any]
    jobs_per_second: float
    device: Device
    warm_up: Callable[[], None] = lambda: None
    is_device_lost: Callable[[Exception], bool] = lambda error: False


def end_process(level: int, reason: str, *args: Any, **details: Any) -> NoReturn:
    """Log the reason, and end the process at once with status 1, although other threads may hang.

    `args` and `details` are arguments of `logging.log`. Other workers get the jobs when their leases end.
    """
    logger.log(level, reason, *args, **details)
    os._exit(1)


class Pipeline:
    """Runs the stages in threads. If a stage fails, the process ends.

    `device_error` is the error that showed that the device is lost, or None.
    """

    def __init__(self, *, worker: str, queue: WorkerQueue, settings: Settings, service: Service) -> None:
        self._worker, self._queue, self._service = worker, queue, service
        self._max_attempts = settings.job_max_attempts
        self.held, self.retry, self.metrics = LeasedJobs(), RedisRetry(), WorkerMetrics()
        self.throughput = Throughput(service.jobs_per_second)
        self.device_error: Exception | None = None
        self._stopped, self._ended = threading.Event(), threading.Event()
        self._batch = NextBatch(lambda: service.model.input_batch, settings.flush_interval)
        self._reply = self._make_reply_stage(service)
        self._infer = self._make_inference_stage(service)
        self._decoder = make_decoder(service.spec, service.device)
        self._fetch = FetchStage(
            worker=worker,
            queue=queue,
            held=self.held,
            batch=self._batch,
            refuse=lambda failed: self._reply.put(BatchResult(failed=failed)),
            retry=self.retry,
            decoder=self._decoder,
        )
        thread = partial(threading.Thread, target=self.repeat)
        others = range(1, FETCH_THREADS[service.device.kind])  # The main thread is the first thread.
        self._fetch_threads = [thread(args=(self._claim,), name=f"fetch-{n}") for n in others]
        numbers = range(BATCHES_IN_FLIGHT[service.device.kind])
        self._infer_threads = [thread(args=(self._infer.step,), name=f"infer-{n}") for n in numbers]
        self._reply_thread = thread(args=(self._reply.step,), name="reply")

    def _make_inference_stage(self, service: Service) -> InferenceStage:
        return InferenceStage(
            model=service.model,
            batch=self._batch,
            held=self.held,
            throughput=self.throughput,
            metrics=self.metrics,
            reply=self._reply.put,
            is_device_lost=service.is_device_lost,
        )

    def _make_reply_stage(self, service: Service) -> ReplyStage:
        description = service.description
        return ReplyStage(
            worker=self._worker,
            queue=self._queue,
            held=self.held,
            decider=service.decider,
            identity={name: description[source] for name, source in IDENTITY.items()},
            description_id=description["id"],
            retry=self.retry,
            metrics=self.metrics,
        )

    @property
    def is_stopping(self) -> bool:
        """Whether the pipeline claims no more jobs."""
        return self._stopped.is_set()

    def start(self) -> None:
        """Start all threads except the calling thread, which `run` uses."""
        for each in (*self._fetch_threads, *self._infer_threads, self._reply_thread):
            each.start()

    def run(self) -> None:
        """Claim and decode jobs in the calling thread until `stop` is called or the device is lost."""
        self.repeat(self._claim)

    def _claim(self) -> bool:
        try:
            self._fetch.step()
        except RedisError as error:
            logger.warning("Redis unreachable: %s; no jobs are claimed", error)
            self._stopped.wait(0.5)
        return not self._stopped.is_set()

    def stop(self) -> None:
        """Claim no more jobs. A signal handler may call this method."""
        self.retry.start_grace_period()
        self._stopped.set()

    def drain(self) -> None:
        """Give waiting jobs back to their queues, finish running jobs, and end the threads."""
        for each in self._fetch_threads:
            each.join()
        self._decoder.close()
        rest = [job.claim for job in self._batch.close()]
        logger.info("worker stopping: %s, %d of %d jobs given back", self._worker, len(rest), len(self.held))
        try:
            self.retry.call(lambda: self._queue.fleet.unpublish(self._worker))
            self._give_back(rest)
        except RedisError:
            logger.warning("Redis unreachable: other workers get this worker's jobs when the leases end")
        for each in self._infer_threads:
            while each.is_alive() and not self.device_error:  # a run on a lost device may never end
                each.join(0.1)
        self._reply.close()
        self._reply_thread.join()
        self._ended.set()

    def _give_back(self, claims: Sequence[Claim], *, begun: bool = False) -> None:
        self.retry.call(lambda: self._queue.give_back(self._worker, claims, begun=begun))
        self.held.remove(claims)

    def hung(self, seconds: float) -> Mapping[str, Sequence[Claim]]:
        """Return the jobs on which the model or the decoding has been working for more than `seconds`."""
        stages = {"the model": self._infer.hung(seconds), "decoding": self._fetch.hung(seconds)}
        return {name: claims for name, claims in stages.items() if claims}

    def repeat(self, step: Callable[[], bool]) -> None:
        """Call `step` until `step` returns False.

        If `step` raises an exception, the process ends, and other workers get its jobs.
        """
        try:
            while step():
                pass
        except Exception as error:
            if self._service.is_device_lost(error):
                self._leave_device(error)
            elif not self._stopped.is_set():
                end_process(logging.CRITICAL, "worker stage failed; the worker ends", exc_info=True)

    def _leave_device(self, error: Exception) -> None:
        """Give all jobs back at once, because no run on this device will succeed. Then the worker ends.

        A lost device is not the fault of the jobs, so they lose no retry. Only a job that has been begun
        `JOB_MAX_ATTEMPTS` times waits for the end of its lease and loses a retry. Otherwise, a job that
        breaks the device would break one device after another.
        """
        if self.device_error:
            return
        self.device_error = error
        logger.critical(
            "device lost: %s; the worker ends, other workers get its %d jobs", reason(error), len(self.held)
        )
        self.stop()
        try:
            self._give_back([job.claim for job in self._batch.close()])
            self._give_back([c for c in self.held.all() if c.attempt < self._max_attempts], begun=True)
        except RedisError:
            logger.warning("Redis unreachable: other workers get this worker's jobs when the leases end")
        self.held.remove(self.held.all())  # the fetch stage may wait for the end of a retried job
        if threading.current_thread() in self._infer_threads and not self._ended.wait(LOST_SECONDS):
            end_process(logging.WARNING, "worker ended: a stage still runs %g s after the loss", LOST_SECONDS)
