"""The least speed of an upload, so that those who send next to nothing don't hold connections for ever."""

import time
from typing import IO

from gevent import Timeout, monkey
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

GRACE_SECONDS = 30.0
"""Before an upload's speed matters."""

MIN_BYTES_A_SECOND = 1024
"""On average after that; a twentieth of what a bad mobile connection has."""

CHUNK_BYTES = 262_144
"""Bytes that are read at a time, at most: by 16,384 a photo of 4 MB took gunicorn and the parser 18 ms of
CPU, by so many 7 (docs/performance.md)."""


class PacedStream:
    """A request's body, read no longer than its bytes are worth, and up to `most` of them.

    Without gevent nothing is timed: a thread can't be called back from a read.
    """

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._most, self._read = stream, most, 0
        self._started = time.monotonic()
        self._is_timed = monkey.is_module_patched("socket")

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes.

        Raises:
            RequestTimeout: they come too slowly.
            RequestEntityTooLarge: they are too many; a body in chunks does not say so before.
        """
        # The parser asks for nothing once it has all.
        data = self._timed(size) if self._is_timed and size else self._stream.read(size)
        self._read += len(data)
        if self._read > self._most:
            raise RequestEntityTooLarge
        return data

    def _timed(self, size: int) -> bytes:
        left = GRACE_SECONDS + self._read / MIN_BYTES_A_SECOND - (time.monotonic() - self._started)
        # What comes within half of the time left at the least speed: the fast soon send by large pieces.
        enough = max(int(left * MIN_BYTES_A_SECOND / 2), 1)
        with Timeout(max(left, 0.001)) as pace:
            try:
                return self._stream.read(min(size, enough))
            except Timeout as late:
                if late is not pace:
                    raise
                raise self._too_slow() from None

    def _too_slow(self) -> RequestTimeout:
        seconds = time.monotonic() - self._started
        detail = f"the form comes too slowly: {self._read} bytes in {seconds:.0f} s"
        return RequestTimeout(f"{detail}; send it again on a faster connection")
