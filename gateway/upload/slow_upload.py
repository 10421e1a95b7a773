"""Ends uploads that are too slow, so that a slow caller cannot block a connection."""

import asyncio
import time

from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from gateway.request import Receive

GRACE_SECONDS = 30.0
"""Number of seconds that an upload may take in addition to its duration at the minimum speed."""

MIN_BYTES_PER_SECOND = 1024
"""Minimum mean speed of an upload, in bytes per second. Even a bad mobile connection is 20 times as fast as
this minimum."""


class UploadStream:
    """Reads a request's body, and enforces a maximum size and a minimum speed."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive, self._max_bytes, self._bytes_read = receive, max_bytes, 0
        self._started, self._has_more = time.monotonic(), True

    async def read(self, _size: int) -> bytes:
        """Return the body's next bytes. At the body's end, or if the caller is gone, return no bytes.

        Raises:
            RequestTimeout: the body's bytes arrive too slowly.
            RequestEntityTooLarge: the body is larger than the maximum. A chunked body does not declare its
                size. The size of a chunked body is checked during the read.
        """
        data = b""
        while self._has_more and not data:
            seconds = time.monotonic() - self._started
            seconds_left = GRACE_SECONDS + self._bytes_read / MIN_BYTES_PER_SECOND - seconds
            try:
                if seconds_left <= 0:
                    raise TimeoutError
                async with asyncio.timeout(seconds_left):
                    message = await self._receive()
            except TimeoutError:
                raise self._too_slow() from None
            data, self._has_more = message.get("body", b""), message.get("more_body", False)
        self._bytes_read += len(data)
        if self._bytes_read > self._max_bytes:
            raise RequestEntityTooLarge
        return data

    def _too_slow(self) -> RequestTimeout:
        seconds = time.monotonic() - self._started
        detail = f"The form arrived too slowly: {self._bytes_read} bytes in {seconds:.0f} s"
        return RequestTimeout(f"{detail}. Send the form again on a faster connection.")
