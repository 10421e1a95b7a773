import json
import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

import numpy as np
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.logs import JsonFormatter
from shared.queue import BULK, INTERACTIVE
from tests.unit.test_next_batch import claim, prepared
from worker.inference_stage import BatchResult, InferenceStage, Throughput
from worker.leased_jobs import LeasedJobs
from worker.next_batch import NextBatch
from worker.redis_retry import RedisRetry
from worker.worker_metrics import WorkerMetrics


class LostDevice(Exception):
    """The model's device works no more."""


class Doubler:
    """Scores each input with twice its first pixel; fails on any batch with a pixel of 13."""

    input_batch = 32

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def run(self, pixels: np.ndarray, /) -> np.ndarray:
        self.sizes.append(len(pixels))
        if (pixels == 13).any():
            raise RuntimeError("unlucky")
        return pixels[:, 0, 0, :1].astype(np.float32) * 2


def job(name: str, *values: int, queue: str = INTERACTIVE):
    each = prepared(name, len(values), queue)
    each.pixels[:] = np.array(values, np.uint8)[:, None, None, None]
    return each


def stage_of(
    model: Doubler,
    batch: NextBatch,
    held: LeasedJobs | None = None,
    metrics: WorkerMetrics | None = None,
    reply: Callable[[BatchResult], object] = lambda _: None,
) -> InferenceStage:
    return InferenceStage(
        model=model,
        batch=batch,
        held=held or LeasedJobs(),
        throughput=Throughput(1.0),
        metrics=metrics or WorkerMetrics(),
        reply=reply,
        is_device_lost=lambda error: isinstance(error, LostDevice),
    )


def infer(
    *jobs, held: LeasedJobs | None = None, metrics: WorkerMetrics | None = None
) -> tuple[Doubler, BatchResult]:
    batch, model, out = NextBatch(lambda: 32), Doubler(), [BatchResult()]
    batch.add(jobs)
    stage = stage_of(model, batch, held, metrics, out.append)
    assert stage.step()
    return model, out[-1]


def test_each_job_gets_its_own_rows() -> None:
    model, result = infer(job("a", 1, 2), job("b", 3))
    assert [each.scores.ravel().tolist() for each in result.scored] == [[2.0, 4.0], [6.0]]
    assert model.sizes == [3]


def test_one_input_that_breaks_the_model_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    model, result = infer(job("a", 1), job("bad", 13), job("b", 3))
    assert [each.job.claim.job_id for each in result.scored] == ["a", "b"]
    (ending,) = result.failed
    assert ending.claim.job_id == "bad" and ending.reply.failure is not None and ending.keep_image
    assert ending.reply.failure.code == "model-failed" and "unlucky" in ending.reply.failure.detail
    assert model.sizes == [3, 1, 2, 1, 1]


def test_every_run_is_counted_and_every_job_once() -> None:
    metrics, sent = WorkerMetrics(), {}
    infer(job("a", 1, 2), job("bad", 13), job("b", 3), metrics=metrics)
    metrics.send(lambda _, amounts: sent.update(amounts))
    assert sent["batch_inputs::sum"] == 4 + 2 + 2 + 1 + 1
    runs = sum(n for name, n in sent.items() if name.startswith("inference") and not name.endswith("sum"))
    assert runs == 5
    assert sent["decode_seconds::0.001"] == 3


def test_a_batch_is_one_line_of_the_log_with_the_requests_in_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    infer(job("a", 1, 2), job("b", 3))
    (record,) = (each for each in caplog.records if each.name == "worker.inference_stage")
    line = json.loads(JsonFormatter().format(record))
    assert (line["jobs"], line["inputs"]) == (2, 3)
    assert line["requests"] == [job(name).claim.request_id or name for name in "ab"]


def test_a_job_that_went_to_another_worker_is_not_run() -> None:
    held = LeasedJobs()
    held.add([claim("a"), claim("b")])
    held.mark_lost({"a-execution"})
    model, result = infer(job("a", 1), job("b", 3), held=held)
    assert model.sizes == [1] and [each.job.claim.job_id for each in result.scored] == ["b"]


def test_the_loop_ends_when_the_batch_is_closed() -> None:
    batch = NextBatch(lambda: 8)
    batch.close()
    assert not stage_of(Doubler(), batch).step()


def test_throughput_counts_short_pauses_and_not_idle_time() -> None:
    throughput = Throughput(10.0)
    throughput.update(10, start=100.0, end=101.0)
    assert throughput.jobs_per_second == 10.0
    throughput.update(10, start=101.01, end=103.0)
    assert throughput.jobs_per_second == pytest.approx(9.0)
    throughput.update(9, start=500.0, end=501.0)
    assert throughput.jobs_per_second == pytest.approx(9.0)


def test_a_command_is_retried_until_redis_answers() -> None:
    answers = [RedisConnectionError("away"), RedisConnectionError("away"), "here"]

    def command() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert RedisRetry(max_pause=0.01).call(command) == "here"


def test_retries_end_after_the_grace_period() -> None:
    retry = RedisRetry(grace=0.1, max_pause=0.02)

    def command() -> None:
        raise RedisConnectionError("away")

    threading.Timer(0.1, retry.start_grace_period).start()
    with pytest.raises(RedisConnectionError):
        retry.call(command)


def test_a_batch_that_hangs_is_reported() -> None:
    entered, go = threading.Event(), threading.Event()

    class Hanging(Doubler):
        def run(self, pixels: np.ndarray, /) -> np.ndarray:
            entered.set()
            go.wait(10)
            return super().run(pixels)

    batch = NextBatch(lambda: 32)
    batch.add([job("a", 1)])
    stage = stage_of(Hanging(), batch)
    assert not stage.hung(0.0)
    thread = threading.Thread(target=stage.step)
    thread.start()
    assert entered.wait(10)
    assert [each.job_id for each in stage.hung(0.0)] == ["a"] and not stage.hung(60.0)
    go.set()
    thread.join()
    assert not stage.hung(0.0)


def test_overlapping_batches_count_each_moment_once() -> None:
    throughput = Throughput(100.0)
    for second in range(10, 60):  # each second, two batches of 100 jobs end almost at once
        throughput.update(100, start=second - 1.0, end=second)
        throughput.update(100, start=second - 1.0, end=second + 1e-6)
    assert throughput.jobs_per_second == pytest.approx(200.0, rel=0.01)


def test_a_job_that_alone_needs_too_much_memory_fails_alone_with_a_reason() -> None:
    class Small(Doubler):
        def run(self, pixels: np.ndarray, /) -> np.ndarray:
            if (pixels == 13).any():
                raise MemoryError
            return super().run(pixels)

    batch, out = NextBatch(lambda: 32), []
    batch.add([job("a", 1), job("large", *[13] * 20), job("b", 3)])
    stage = stage_of(Small(), batch, reply=out.append)
    assert stage.step()
    (result,) = out
    assert [each.job.claim.job_id for each in result.scored] == ["a", "b"]
    (failed,) = result.failed
    assert failed.claim.job_id == "large" and failed.reply.failure is not None
    assert failed.reply.failure.detail == "the model failed on this image: MemoryError"


def test_a_lost_device_fails_no_job() -> None:
    class Lost(Doubler):
        def run(self, pixels: np.ndarray, /) -> np.ndarray:
            raise LostDevice("Xid 79")

    batch, out = NextBatch(lambda: 32), []
    batch.add([job("a", 1), job("b", 3)])
    stage = stage_of(Lost(), batch, reply=out.append)
    with pytest.raises(LostDevice):
        stage.step()
    assert out == [] and not stage.hung(0.0)


class Card(Doubler):
    """A card on which a number of runs must be under way at once before any of these runs ends."""

    def __init__(self, runs: int) -> None:
        super().__init__()
        self.together = threading.Barrier(runs)

    def run(self, pixels: np.ndarray, /) -> np.ndarray:
        self.together.wait(20)  # raises BrokenBarrierError if fewer runs are under way
        return super().run(pixels)


def test_under_load_batches_are_full_and_several_are_under_way() -> None:
    batch, model, metrics, sent, out = NextBatch(lambda: 8), Card(3), WorkerMetrics(), {}, []
    stage = stage_of(model, batch, metrics=metrics, reply=out.append)

    def infer_twice() -> bool:
        return stage.step() and stage.step()

    batch.add([job(f"first-{n}", n) for n in range(8)])
    threads = [threading.Thread(target=infer_twice) for _ in range(3)]
    start = time.monotonic()
    for each in threads:
        each.start()
    for number in range(1, 6):  # like the fetch stage, which adds jobs whenever there is room
        while not batch.room()[INTERACTIVE]:
            batch.wait_for_room(0.05)
        batch.add([job(f"{number}-{n}", n) for n in range(8)])
    for each in threads:
        each.join(30)
    seconds = time.monotonic() - start
    assert model.sizes == [8] * 6 and len(out) == 6 and not any(result.failed for result in out)
    assert all(each.scores == 2 * each.job.pixels.max() for result in out for each in result.scored)
    metrics.send(lambda _, amounts: sent.update(amounts))
    assert sent["inference_seconds::sum"] <= seconds, "the busy time counts no moment twice"


def test_a_single_client_never_waits_for_a_second_job() -> None:
    batch, out = NextBatch(lambda: 8), SimpleQueue()
    stage = stage_of(Doubler(), batch, reply=out.put)
    threads = [threading.Thread(target=stage.step) for _ in range(3)]
    for each in threads:
        each.start()
    for name in "abc":  # the next job comes after the answer to the last job
        batch.add([job(name, 1)])
        assert [each.job.claim.job_id for each in out.get(timeout=20).scored] == [name]
    for each in threads:
        each.join(20)


def test_each_of_several_batches_that_hang_is_reported() -> None:
    model, batch = Card(3), NextBatch(lambda: 2)
    batch.add([job("a", 1, 2)])
    batch.add([job("bulk", 1, 2, queue=BULK)])
    stage = stage_of(model, batch)
    threads = [threading.Thread(target=stage.step) for _ in range(2)]
    for each in threads:
        each.start()
    while model.together.n_waiting < 2:
        time.sleep(0.01)
    assert sorted(each.job_id for each in stage.hung(0.0)) == ["a", "bulk"] and not stage.hung(60.0)
    model.together.abort()
    for each in threads:
        each.join()
    assert not stage.hung(0.0)
