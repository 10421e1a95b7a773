"""The uses of TensorFlow's surroundings that need no TensorFlow."""

import platform

import psutil
import pytest

from worker.tensorflow_compat import release_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory in this way")
def test_freed_memory_returns_to_the_operating_system() -> None:
    # Objects of over 512 bytes come from glibc. The last object keeps the heap's end in use, so glibc can't
    # shrink the heap itself.
    objects = [bytes(1024) for _ in range(200_000)]
    last = objects.pop()
    objects.clear()
    before = psutil.Process().memory_info().rss
    release_freed_memory()
    assert before - psutil.Process().memory_info().rss > 100 * 2**20
    assert len(last) == 1024
