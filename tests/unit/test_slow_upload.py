"""The minimum speed of an upload; tests/e2e/test_slow_clients.py checks it with real connections."""

from collections.abc import Iterator

import pytest
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from gateway.upload import slow_upload
from gateway.upload.slow_upload import GRACE_SECONDS, MIN_BYTES_PER_SECOND, UploadStream
from tests.background import begin


class Chunks:
    """A body that arrives in chunks, at a speed that moves a clock."""

    def __init__(self, clock: list[float], sizes: list[int], speed: float) -> None:
        self.clock, self.left, self.speed = clock, sizes, speed

    async def receive(self) -> dict[str, object]:
        size = self.left.pop(0)
        self.clock[0] += size / self.speed
        return {"type": "http.request", "body": bytes(size), "more_body": bool(self.left)}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    clock = [1000.0]
    monkeypatch.setattr(slow_upload.time, "monotonic", lambda: clock[0])
    yield clock
    monkeypatch.undo()


async def whole(stream: UploadStream) -> int:
    size = 0
    while data := await stream.read(65_536):
        size += len(data)
    return size


def test_an_upload_at_the_minimum_speed_is_read_to_its_end(now: list[float]) -> None:
    body = Chunks(now, [1000] * 200, MIN_BYTES_PER_SECOND)
    assert begin(whole, UploadStream(body.receive, 200_000)).result(10) == 200_000
    assert now[0] > 1000 + GRACE_SECONDS


def test_a_slower_upload_is_refused_after_the_grace(now: list[float]) -> None:
    body = Chunks(now, [100] * 2000, MIN_BYTES_PER_SECOND / 2)
    refusal = begin(whole, UploadStream(body.receive, 200_000)).exception(10)
    assert isinstance(refusal, RequestTimeout)
    assert GRACE_SECONDS < now[0] - 1000 < 2 * GRACE_SECONDS + 1
    assert "bytes in" in refusal.description and "faster connection" in refusal.description


def test_a_body_without_a_declared_size_is_read_up_to_the_maximum(now: list[float]) -> None:
    body = Chunks(now, [1000] * 3, 1e6)
    assert isinstance(begin(whole, UploadStream(body.receive, 2999)).exception(10), RequestEntityTooLarge)


def test_the_body_of_a_caller_that_is_gone_ends(now: list[float]) -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    assert begin(whole, UploadStream(receive, 10)).result(10) == 0
