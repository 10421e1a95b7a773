import threading

import numpy as np
import pytest

import worker.decode
from shared.job import Options
from shared.queue.messages import Claim, ClaimOutcome, Claims, NewJob
from shared.queue.wire import job_fields
from tests.job_queue import JobQueue
from tests.unit.test_next_batch import names
from worker.decode import PixelSpec
from worker.fetch_stage import FetchStage
from worker.leased_jobs import LeasedJobs
from worker.next_batch import NextBatch
from worker.redis_retry import RedisRetry


class OneJob(JobQueue):
    """A queue with one job, whose claim includes its image."""

    def __init__(self) -> None:
        pass

    def claim(self, *arguments: object, **options: object) -> Claims:
        data = job_fields(NewJob("a", b"", Options()))[1]
        return Claims([Claim("bulk", "a", "e", data, None, 1, "", 0.0, b"image")], ClaimOutcome.FRESH)


def test_a_decoder_that_hangs_is_reported_with_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def decode(*arguments: object) -> np.ndarray:
        begun.set()
        go_on.wait(10)
        return np.zeros((1, 2, 2, 3), np.uint8)

    monkeypatch.setattr(worker.decode, "decode", decode)
    batch, spec = NextBatch(lambda: 8), PixelSpec(2, 2, 3)
    stage = FetchStage(
        worker="w1",
        queue=OneJob(),
        held=LeasedJobs(),
        batch=batch,
        spec=spec,
        refuse=lambda ended: None,
        retry=RedisRetry(),
    )
    assert not stage.hung(0.0)
    thread = threading.Thread(target=stage.step)
    thread.start()
    assert begun.wait(10)
    assert [each.job_id for each in stage.hung(0.0)] == ["a"] and not stage.hung(60.0)
    go_on.set()
    thread.join()
    assert not stage.hung(0.0) and names(batch.take()) == ["a"]
