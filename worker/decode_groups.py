"""Divides the images of a claim into groups, and decodes several groups at once."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import chain
from typing import Any

from worker.decode import EncodedImage, Outcome

GROUP_BYTES = 65_536
"""Minimum total size of the images that a decoding thread or process receives at once, in bytes.

Passing a single small image to a thread or process would cost more time than it saves."""

DecodeGroup = Callable[[Sequence[EncodedImage]], Iterable[Outcome]]


class GroupRunner:
    """Divides images into groups, and calls a function for several groups at once in threads."""

    def __init__(self, threads: int) -> None:
        self._pool: Executor = ThreadPoolExecutor(threads, "decode")

    def run(self, decode_group: DecodeGroup, images: Sequence[EncodedImage]) -> list[Outcome]:
        """Return the outcomes of all images, in the order of the images."""
        groups = _groups(images)
        run: Any = map if len(groups) == 1 else self._pool.map
        return list(chain.from_iterable(run(decode_group, groups)))

    def close(self) -> None:
        """End the threads; groups that no thread has begun are not decoded."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _groups(images: Sequence[EncodedImage]) -> list[list[EncodedImage]]:
    """Divide images into groups.

    The images of every group have at least `GROUP_BYTES` bytes in total, except in the last group.
    """
    groups: list[list[EncodedImage]] = []
    room = 0
    for image in images:
        if room <= 0:
            groups.append([])
            room = GROUP_BYTES
        groups[-1].append(image)
        room -= len(image[0])
    return groups
