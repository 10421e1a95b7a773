"""Decodes images with Pillow in separate processes (`worker/decoding_process.py`).

Python's global lock does not limit separate processes, and an image that crashes a decoder ends only one
of these processes. Each process shares a memory file (`memfd_create`) with the worker for the images and the
pixels. A memory file needs no space in /dev/shm, which has 64 MB in a container, and the kernel frees it when
the last process that uses it ends. The file remains mapped, because mapping a new file for each request would
take 0.3 ms per image.
"""

import json
import logging
import mmap
import os
import queue
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from shared.image_header import ImageError
from shared.own_module import module_command, module_environ
from worker.decode import DecodedImage, EncodedImage, Outcome, PixelSpec
from worker.decode_groups import GroupRunner
from worker.decoding_process import REQUEST, RESPONSE, SharedRequest

logger = logging.getLogger(__name__)

SHARED_BYTES = 8 * 2**20
"""Size of the memory file between large requests, in bytes. Only used pages of the file need memory."""

_ENVIRON = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(16 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(16 * 2**20),
}
"""Without these limits, glibc returns freed memory to the kernel after each image.

An image of 640×480 pixels would then take 2.6 ms of CPU time instead of 2.0 ms."""


class DecodingProcessEnded(Exception):
    """Raised if a decoding process ends during a request; the message has its exit status or signal."""


class DecodingProcess:
    """A running decoding process."""

    def __init__(self, spec: PixelSpec) -> None:
        self._spec = spec
        self._connection, other = socket.socketpair()
        self._file = os.memfd_create("decode")
        os.ftruncate(self._file, SHARED_BYTES)
        self._memory = mmap.mmap(self._file, SHARED_BYTES)
        files = (other.fileno(), self._file)
        command = module_command("worker.decoding_process", *map(str, files), json.dumps(asdict(spec)))
        with other:
            self.process = subprocess.Popen(  # noqa: S603 (our own module)
                command,
                env=module_environ() | _ENVIRON,
                stdin=subprocess.PIPE,  # the process ends when this pipe closes
                pass_fds=files,
            )

    def decode(self, images: Sequence[EncodedImage]) -> list[Outcome]:
        """Return, for each image, its inputs or the reason why it can't be decoded.

        Raises:
            DecodingProcessEnded: the process ended before it answered.
        """
        entries = [(len(data), regions) for data, regions in images]
        request = json.dumps(entries).encode()
        layout = SharedRequest(entries, len(request), self._spec)
        self._resize(max(layout.size, SHARED_BYTES))
        for start, data in zip((0, *layout.files), (request, *(data for data, _ in images)), strict=True):
            self._memory[start : start + len(data)] = data
        return [
            ImageError(*outcome) if isinstance(outcome, list) else DecodedImage(pixels.copy(), **outcome)
            for outcome, pixels in zip(self._request(len(request)), layout.arrays(self._memory), strict=True)
        ]

    def _resize(self, size: int) -> None:
        if size != len(self._memory):
            os.ftruncate(self._file, size)
            self._memory = mmap.mmap(self._file, size)

    def _request(self, json_size: int) -> Any:
        try:
            self._connection.sendall(REQUEST.pack(json_size))
            return json.loads(self._receive(RESPONSE.unpack(self._receive(RESPONSE.size))[0]))
        except ConnectionError:
            raise DecodingProcessEnded(f"the decoding process ended with {_name(self.close())}") from None

    def _receive(self, size: int) -> bytes:
        received = self._connection.recv(size, socket.MSG_WAITALL)
        if len(received) < size:
            raise ConnectionResetError
        return received

    def close(self) -> int:
        """End the process; return its exit status, or its signal as a negative number."""
        self._connection.close()
        os.close(self._file)
        if self.process.stdin:
            self.process.stdin.close()
        return self.process.wait()


class ProcessDecoder:
    """Decodes images with Pillow in up to `processes` processes, which start when they are needed.

    If a process ends, each image of its group is decoded alone. Only an image whose process ends again is
    refused as damaged.
    """

    def __init__(self, spec: PixelSpec, processes: int) -> None:
        self._spec = spec
        self._groups = GroupRunner(processes)
        # The process that was used last is used first, so that few processes start for few images.
        self._idle: queue.LifoQueue[DecodingProcess | None] = queue.LifoQueue()
        for _ in range(processes):
            self._idle.put(None)

    def decode(self, images: Sequence[EncodedImage]) -> list[Outcome]:
        """Return, for each image, its inputs or the reason why it can't be decoded."""
        return self._groups.run(self._decode_group, images)

    def _decode_group(self, group: Sequence[EncodedImage]) -> list[Outcome]:
        try:
            return self._decode_in_process(group)
        except DecodingProcessEnded as error:
            logger.warning("images decoded again, one by one: %s", error)
            return [self._decode_alone(image) for image in group]

    def _decode_alone(self, image: EncodedImage) -> Outcome:
        try:
            return self._decode_in_process([image])[0]
        except DecodingProcessEnded as error:
            return ImageError("damaged", f"the image is damaged: {error}")

    def _decode_in_process(self, group: Sequence[EncodedImage]) -> list[Outcome]:
        process, used = None, self._idle.get()
        try:
            used = used or DecodingProcess(self._spec)
            outcomes = used.decode(group)
            process = used
            return outcomes
        finally:
            self._idle.put(process)

    def close(self) -> None:
        """End the threads and the processes."""
        self._groups.close()
        while not self._idle.empty():
            if process := self._idle.get():
                process.close()


def _name(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"
