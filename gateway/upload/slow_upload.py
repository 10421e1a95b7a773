"""Ends uploads that are too slow, so that a slow caller cannot block a connection."""

import time
from typing import IO

from gevent import Timeout, monkey
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

GRACE_SECONDS = 30.0
"""Number of seconds that an upload may take in addition to its duration at the minimum speed."""

MIN_BYTES_PER_SECOND = 1024
"""Minimum mean speed of an upload, in bytes per second. Even a bad mobile connection is 20 times as fast as
this minimum."""

MAX_CHUNK_BYTES = 262_144
"""Maximum size of one read of an upload, in bytes. Large reads save CPU time: a photo of 4 MB took 7 ms of
CPU time with reads of 262,144 bytes. With reads of 16,384 bytes, the same photo took 18 ms
(docs/performance.md)."""


class UploadStream:
    """Reads a request's body, and enforces a maximum size and a minimum speed.

    Without gevent, the minimum speed is not enforced, because a read in a thread cannot be interrupted.
    """

    def __init__(self, stream: IO[bytes], max_bytes: int) -> None:
        self._stream, self._max_bytes, self._bytes_read = stream, max_bytes, 0
        self._started = time.monotonic()
        self._is_timed = monkey.is_module_patched("socket")

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes of the body.

        Raises:
            RequestTimeout: the body's bytes arrive too slowly.
            RequestEntityTooLarge: the body is larger than the maximum. A chunked body does not declare its
                size. The size of a chunked body is checked during the read.
        """
        # After the form's end, the parser calls `read(0)`, which needs no time limit.
        data = self._read_in_time(size) if self._is_timed and size else self._stream.read(size)
        self._bytes_read += len(data)
        if self._bytes_read > self._max_bytes:
            raise RequestEntityTooLarge
        return data

    def _read_in_time(self, size: int) -> bytes:
        seconds = time.monotonic() - self._started
        seconds_left = GRACE_SECONDS + self._bytes_read / MIN_BYTES_PER_SECOND - seconds
        # A read returns only when all requested bytes have arrived. Each read therefore requests only as many
        # bytes as arrive at the minimum speed in half of the remaining time.
        in_time = max(int(seconds_left * MIN_BYTES_PER_SECOND / 2), 1)
        with Timeout(max(seconds_left, 0.001)) as own_timeout:
            try:
                return self._stream.read(min(size, in_time))
            except Timeout as timeout:
                if timeout is not own_timeout:
                    raise
                raise self._too_slow() from None

    def _too_slow(self) -> RequestTimeout:
        seconds = time.monotonic() - self._started
        detail = f"The form arrived too slowly: {self._bytes_read} bytes in {seconds:.0f} s"
        return RequestTimeout(f"{detail}. Send the form again on a faster connection.")
