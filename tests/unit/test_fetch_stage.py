import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

import worker.decode
from shared.job import Options
from shared.queue.messages import Claim, ClaimOutcome, Claims, NewJob, Settlement
from shared.queue.wire import job_fields
from tests.bad_input import png_header
from tests.images import saved, scene
from tests.job_queue import JobQueue
from tests.unit.test_next_batch import names
from worker.decode import PixelSpec
from worker.decoders import ThreadDecoder
from worker.fetch_stage import FetchStage
from worker.leased_jobs import LeasedJobs
from worker.next_batch import NextBatch
from worker.redis_retry import RedisRetry


def claim(name: str, **changes: object) -> Claim:
    data = job_fields(NewJob(name, b"", Options()))[1]
    return replace(Claim("bulk", name, f"e-{name}", data, None, 1, "", 0.0, b"image"), **changes)


class FixedClaims(JobQueue):
    """A queue whose claims are fixed, and include their images."""

    def __init__(self, *claims: Claim) -> None:
        self.claims = claims or (claim("a"),)

    def claim(self, *arguments: object, **options: object) -> Claims:
        return Claims(list(self.claims), ClaimOutcome.FRESH)

    def images(self, claims: Sequence[Claim]) -> list[bytes | None]:
        return [each.image for each in claims]


def test_a_decoder_that_hangs_is_reported_with_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def decode(*arguments: object) -> np.ndarray:
        begun.set()
        go_on.wait(10)
        return np.zeros((1, 2, 2, 3), np.uint8)

    monkeypatch.setattr(worker.decode, "decode", decode)
    batch = NextBatch(lambda: 8)
    stage = fetch_stage(FixedClaims(), batch)
    assert not stage.hung(0.0)
    thread = threading.Thread(target=stage.step)
    thread.start()
    assert begun.wait(10)
    assert [each.job_id for each in stage.hung(0.0)] == ["a"] and not stage.hung(60.0)
    go_on.set()
    thread.join()
    assert not stage.hung(0.0) and names(batch.take()) == ["a"]


def test_jobs_that_cannot_be_decoded_are_refused_with_the_reason() -> None:
    image = saved(scene(40, 30))
    claims = [
        claim("a", image=image),
        claim("b", image=image, seconds_left=0.0),
        claim("c", image=image, data=b"x"),
        claim("d", image=image[:300]),
        claim("e", image=image, seconds_left=9.0),
        claim("f", image=None),
        claim("g", image=png_header(20_000, 20_000)),
    ]
    refused: list[Settlement] = []
    batch = NextBatch(lambda: 8)
    stage = fetch_stage(FixedClaims(*claims), batch, refused.extend)
    stage.step()
    assert names(batch.take()) == ["a", "e"]
    assert {each.claim.job_id: each.reply.failure and each.reply.failure.code for each in refused} == {
        "b": "expired",
        "c": "not-ours",
        "d": "image-damaged",
        "f": "image-lost",
        "g": "image-too-large",
    }


def test_truncated_images_are_marked_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    image = saved(scene(40, 30))
    batch = NextBatch(lambda: 8)
    stage = fetch_stage(FixedClaims(claim("a", image=image), claim("b", image=image[:-200])), batch)
    stage.decoder = ThreadDecoder(PixelSpec(2, 2, 3, truncated="accept"), 1)
    stage.step()
    assert [(job.claim.job_id, job.is_truncated) for job in batch.take()] == [("a", False), ("b", True)]
    assert "truncated image accepted: job b" in caplog.text and "job a" not in caplog.text


def test_images_are_fetched_while_others_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched, go_on = threading.Semaphore(0), threading.Event()

    class Queue(FixedClaims):
        def images(self, claims: Sequence[Claim]) -> list[bytes | None]:
            fetched.release()
            return super().images(claims)

    def decode(*arguments: object) -> np.ndarray:
        go_on.wait(10)
        return np.zeros((1, 2, 2, 3), np.uint8)

    monkeypatch.setattr(worker.decode, "decode", decode)
    batch = NextBatch(lambda: 8)
    stage = fetch_stage(Queue(), batch)
    threads = [threading.Thread(target=stage.step) for _ in range(2)]
    for each in threads:
        each.start()
    assert all(fetched.acquire(timeout=10) for _ in threads)  # No image is decoded until now.
    go_on.set()
    for each in threads:
        each.join(10)
    assert len(batch.take()) == 2


def test_no_thread_claims_a_job_beside_a_retried_job() -> None:
    claimed = threading.Semaphore(0)

    class Queue(FixedClaims):
        def claim(self, *arguments: object, **options: object) -> Claims:
            claimed.release()
            return Claims(list(self.claims), ClaimOutcome.RETRIED)

    stage = fetch_stage(Queue(claim("a", image=None)), NextBatch(lambda: 8))
    threads = [threading.Thread(target=stage.step) for _ in range(2)]
    for each in threads:
        each.start()
    assert claimed.acquire(timeout=10) and not claimed.acquire(timeout=0.2)
    stage.held.remove(stage.held.all())  # The job is settled.
    assert claimed.acquire(timeout=10)
    stage.held.remove(stage.held.all())
    while any(each.is_alive() for each in threads):
        stage.held.remove(stage.held.all())


def fetch_stage(
    queue: JobQueue, batch: NextBatch, refuse: Callable[[list[Settlement]], None] = lambda ended: None
) -> FetchStage:
    return FetchStage(
        worker="w1",
        queue=queue,
        held=LeasedJobs(),
        batch=batch,
        refuse=refuse,
        retry=RedisRetry(),
        decoder=ThreadDecoder(PixelSpec(2, 2, 3), 2),
    )
