"""The sizes of the reads of an upload; tests/e2e/test_slow_clients.py checks the times."""

import io

import pytest

from gateway.upload import slow_upload
from gateway.upload.slow_upload import GRACE_SECONDS, MAX_CHUNK_BYTES, MIN_BYTES_PER_SECOND, UploadStream


class RecordingBody(io.BytesIO):
    """A body that records the sizes of its reads."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.sizes: list[int] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.sizes.append(size or 0)
        return super().read(size)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(slow_upload.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(slow_upload.monkey, "is_module_patched", lambda name: True)
    return clock


def test_a_fast_upload_is_soon_read_in_large_chunks(now: list[float]) -> None:
    body = RecordingBody(bytes(4_000_000))
    stream = UploadStream(body, 5_000_000)
    while stream.read(MAX_CHUNK_BYTES):
        now[0] += 0.001
    assert body.sizes[0] <= GRACE_SECONDS * MIN_BYTES_PER_SECOND / 2
    assert max(body.sizes) == MAX_CHUNK_BYTES and len(body.sizes) < 40


def test_a_slow_upload_is_read_in_sizes_that_can_arrive_in_time(now: list[float]) -> None:
    body = RecordingBody(bytes(200_000))
    stream = UploadStream(body, 200_000)
    while data := stream.read(MAX_CHUNK_BYTES):
        left = GRACE_SECONDS + (body.tell() - len(data)) / MIN_BYTES_PER_SECOND - (now[0] - 1000)
        assert body.sizes[-1] / MIN_BYTES_PER_SECOND <= left
        now[0] += len(data) / MIN_BYTES_PER_SECOND
