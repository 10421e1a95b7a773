"""A process that decodes images for a worker (`worker/process_decoder.py` starts it).

Standard input is a pipe that carries no data. The pipe closes when the worker ends, and then this process
ends too. The arguments are the descriptor of a socket for requests and responses, the descriptor of a memory
file (`memfd_create`), and a `PixelSpec` as JSON. For each request, the worker writes the request's JSON and
the images' files into the memory file, and this process writes the pixels behind them. This process never
imports TensorFlow or Redis.
"""

import fcntl
import json
import mmap
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from shared.image_header import ImageError
from shared.job import Region
from worker.decode import EncodedImage, PixelSpec, decode_image

REQUEST, RESPONSE = struct.Struct("!Q"), struct.Struct("!I")
"""Size of the JSON of a request, and of the JSON of a response, in bytes.

The JSON of a request is in the memory file. The JSON of a response follows in the socket."""

ALIGNMENT = 64
"""Alignment of the pixels in the memory file, in bytes."""


class SharedRequest:
    """The layout of a memory file: its JSON, the files of `images`, and the pixels of each image.

    `json` is a list with one entry per image: the size of its file in bytes, and its regions or None.
    """

    def __init__(self, entries: Sequence[tuple[int, Any]], json_size: int, spec: PixelSpec) -> None:
        input_bytes = spec.height * spec.width * spec.channels
        shapes = [(len(regions or [0]), spec.height, spec.width, spec.channels) for _, regions in entries]
        *self.files, end = accumulate((size for size, _ in entries), initial=json_size)
        start = -(-end // ALIGNMENT) * ALIGNMENT
        *self.pixels, self.size = accumulate((shape[0] * input_bytes for shape in shapes), initial=start)
        self.shapes = shapes

    def arrays(self, memory: mmap.mmap) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
        """Return the pixels of each image as views of the memory, uint8 [inputs, height, width, channels]."""
        return [
            np.ndarray(shape, np.uint8, memory, offset)
            for shape, offset in zip(self.shapes, self.pixels, strict=True)
        ]


def _serve(connection: socket.socket, file: int, spec: PixelSpec) -> None:
    """Answer requests until the worker ends."""
    memory = mmap.mmap(file, 0)
    while header := connection.recv(REQUEST.size, socket.MSG_WAITALL):
        if len(memory) != os.fstat(file).st_size:  # the worker has resized the file
            memory = mmap.mmap(file, 0)
        response = json.dumps(_decode(memory, REQUEST.unpack(header)[0], spec)).encode()
        connection.sendall(RESPONSE.pack(len(response)) + response)


def _decode(memory: mmap.mmap, json_size: int, spec: PixelSpec) -> list[Any]:
    """Write the images' pixels into the memory.

    Returns, for each image, the other attributes of its `DecodedImage`, or its error's kind and message.
    """
    entries = json.loads(memory[:json_size])
    layout = SharedRequest(entries, json_size, spec)
    outcomes: list[Any] = []
    for (size, regions), at, pixels in zip(entries, layout.files, layout.arrays(memory), strict=True):
        image: EncodedImage = memory[at : at + size], regions and [Region(*each) for each in regions]
        outcome = decode_image(image, spec)
        if isinstance(outcome, ImageError):
            outcomes.append([outcome.kind, str(outcome)])
        else:
            pixels[:] = outcome.pixels
            outcomes.append({"seconds": outcome.seconds, "is_truncated": outcome.is_truncated})
    return outcomes


def _end_with_worker(pipe: int) -> None:
    """Let the kernel end this process when the other end of the pipe closes, even during a decode.

    A thread that waits for the end would not run while a decoder holds Python's global lock.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([pipe], [], [], 0)[0]:  # the worker ended before the signal was set
        sys.exit()


def _main() -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # a stopping worker still decodes the images that it claimed
    _end_with_worker(sys.stdin.fileno())
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        _serve(connection, int(sys.argv[2]), PixelSpec(**json.loads(sys.argv[3])))


if __name__ == "__main__":
    _main()
