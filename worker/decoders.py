"""Chooses how a worker decodes images: in threads, in processes, or on a graphics card."""

import os
from collections.abc import Sequence

from shared.cores import available_cores
from worker.decode import Decoder, EncodedImage, Outcome, PixelSpec, decode_image
from worker.decode_groups import GroupRunner
from worker.devices import Device
from worker.process_decoder import ProcessDecoder

MIN_CORES_FOR_PROCESSES = 8
"""Minimum number of cores with which images are decoded in processes instead of threads.

Photos of 640×480 pixels on 16 cores: 4 threads decode four times as many photos as 1 thread, 8 threads
only six times as many, because Python's global lock limits them. 16 processes decode 2.3 times as many
photos as 16 threads. On 2 cores, processes are not faster, and each process needs 20 MB of memory."""


class ThreadDecoder:
    """Decodes images with Pillow in threads of this process."""

    def __init__(self, spec: PixelSpec, threads: int) -> None:
        self._spec = spec
        self._groups = GroupRunner(threads)

    def decode(self, images: Sequence[EncodedImage]) -> list[Outcome]:
        """Return, for each image, its inputs or the reason why it can't be decoded."""
        return self._groups.run(lambda group: [decode_image(image, self._spec) for image in group], images)

    def close(self) -> None:
        """End the threads."""
        self._groups.close()


def make_decoder(spec: PixelSpec, device: Device) -> Decoder:
    """Return the fastest decoder for this machine and for the device that runs the model."""
    cores = available_cores()
    separate = cores >= MIN_CORES_FOR_PROCESSES and hasattr(os, "memfd_create")
    pillow: Decoder = ProcessDecoder(spec, cores) if separate else ThreadDecoder(spec, cores)
    if device.kind != "gpu":
        return pillow
    from worker.decode_on_card import open_card_decoder

    return open_card_decoder(spec, pillow)
