import threading

import numpy as np
import pytest

import worker.take
from shared.job import Options
from shared.queue import JobQueue
from shared.records import Claim, Claims, NewJob, job_words
from tests.unit.test_batch import names
from worker.batch import NextBatch
from worker.decode import PixelSpec
from worker.held import Held
from worker.patience import Patience
from worker.take import Taker


class OneJob(JobQueue):
    """A queue with one job, whose image has come with it."""

    def __init__(self) -> None:
        pass

    def claim(self, *arguments: object, **options: object) -> Claims:
        data = job_words(NewJob("a", b"", Options()))[1]
        return Claims([Claim("bulk", "a", "e", data, None, 1, "", 0.0, b"image")], False, "")


def test_a_decoder_that_hangs_is_told_with_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def decode(*arguments: object) -> np.ndarray:
        begun.set()
        go_on.wait(10)
        return np.zeros((1, 2, 2, 3), np.uint8)

    monkeypatch.setattr(worker.take, "decode", decode)
    batch, spec = NextBatch(8), PixelSpec(2, 2, 3)
    taker = Taker("w1", OneJob(), Held(), batch, spec, lambda ended: None, Patience())
    assert not taker.hung(0.0)
    thread = threading.Thread(target=taker.step)
    thread.start()
    assert begun.wait(10)
    assert [each.job_id for each in taker.hung(0.0)] == ["a"] and not taker.hung(60.0)
    go_on.set()
    thread.join()
    assert not taker.hung(0.0) and names(batch.take()) == ["a"]
