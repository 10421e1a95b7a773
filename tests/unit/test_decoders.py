import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import worker.process_decoder
from shared.image_header import ImageError
from shared.job import Region
from tests.images import saved, scene
from worker.decode import DecodedImage, Decoder, EncodedImage, Outcome, PixelSpec, decode
from worker.decoders import ThreadDecoder
from worker.process_decoder import SHARED_BYTES, DecodingProcess, ProcessDecoder

ROOT = Path(__file__).parent.parent.parent
SPEC = PixelSpec(height=31, width=47, channels=3, color="bgr")
POISON = saved(Image.new("RGB", (20, 10)))

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="macOS has no memory files")


@pytest.fixture
def processes() -> Iterator[ProcessDecoder]:
    decoder = ProcessDecoder(SPEC, 2)
    yield decoder
    decoder.close()


def images() -> list[EncodedImage]:
    """Images of every format and several sizes, with and without regions."""
    forms = ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"]
    regions = (None, [Region(3, 4, 100)], [Region(9 * i, 5 * i, 50 + i) for i in range(13)])
    return [(saved(scene(200 + 9 * i, 150 + i, i), forms[i % 6]), regions[i % 3]) for i in range(18)]


def pixels(outcome: Outcome) -> np.ndarray:
    assert isinstance(outcome, DecodedImage), outcome
    assert outcome.seconds > 0
    return outcome.pixels


def assert_decoded(outcomes: Sequence[Outcome], wanted: Sequence[EncodedImage]) -> None:
    assert len(outcomes) == len(wanted)
    for outcome, image in zip(outcomes, wanted, strict=True):
        assert (pixels(outcome) == decode(*image, SPEC)).all()


def pids(decoder: ProcessDecoder) -> list[int]:
    return [each.process.pid for each in decoder._idle.queue if each]


@pytest.mark.parametrize("kind", [ThreadDecoder, ProcessDecoder])
def test_outcomes_have_the_order_of_the_images(kind: type[ThreadDecoder | ProcessDecoder]) -> None:
    damaged, mixed = (saved(scene(200, 150))[:900], None), images()
    outside = (saved(scene(200, 150)), [Region(150, 0, 100)])
    decoder: Decoder = kind(SPEC, 2)
    outcomes = decoder.decode([*mixed[:9], damaged, outside, *mixed[9:]])
    decoder.close()
    for error, text in zip(outcomes[9:11], ("truncated", "outside the image of 200×150"), strict=True):
        assert isinstance(error, ImageError) and error.kind == "damaged" and text in str(error)
    assert_decoded(outcomes[:9] + outcomes[11:], mixed)


@pytest.mark.parametrize("kind", [ThreadDecoder, ProcessDecoder])
def test_no_images_have_no_outcomes(kind: type[ThreadDecoder | ProcessDecoder]) -> None:
    decoder: Decoder = kind(SPEC, 2)
    assert decoder.decode([]) == []
    decoder.close()


def test_a_request_may_be_larger_than_the_shared_memory(processes: ProcessDecoder) -> None:
    regions = [Region(i % 50, i % 40, 60) for i in range(2 * SHARED_BYTES // (31 * 47 * 3))]
    large, small = (saved(scene(200, 150)), regions), images()[:1]
    for group in ([large], small, [large, *small]):
        assert_decoded(processes.decode(group), group)
    assert len(pids(processes)) == 1  # one group needs one process, and the process survived


def test_pixels_stay_valid_after_later_requests(processes: ProcessDecoder) -> None:
    first, second = images()[:1], images()[3:4]
    outcomes = processes.decode(first)
    processes.decode(second)
    assert_decoded(outcomes, first)


class PoisonedProcess(DecodingProcess):
    """A process that is killed when it gets the image `POISON`."""

    def decode(self, images: Sequence[EncodedImage]) -> list[Outcome]:
        if any(data == POISON for data, _ in images):
            os.kill(self.process.pid, signal.SIGSEGV)
        return super().decode(images)


def test_only_the_image_that_ends_its_process_fails(
    processes: ProcessDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.process_decoder, "DecodingProcess", PoisonedProcess)
    small = [(saved(scene(40, 30, i)), None) for i in range(6)]
    outcomes = processes.decode([*small[:3], (POISON, None), *small[3:]])
    poison = outcomes.pop(3)
    assert isinstance(poison, ImageError) and poison.kind == "damaged" and "SIGSEGV" in str(poison)
    assert_decoded(outcomes, small)
    assert_decoded(processes.decode(images()), images())


def test_a_process_that_was_killed_while_idle_costs_no_image(processes: ProcessDecoder) -> None:
    one = images()[:1]
    processes.decode(one)
    killed = pids(processes)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert_decoded(processes.decode(one), one)
    assert set(pids(processes)).isdisjoint(killed)


def test_signals_for_the_worker_do_not_end_its_decoding(processes: ProcessDecoder) -> None:
    one = images()[:1]
    processes.decode(one)
    before = pids(processes)
    for pid in before:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    assert_decoded(processes.decode(one), one)
    assert pids(processes) == before


def test_close_leaves_no_process_and_no_file() -> None:
    files = len(os.listdir("/proc/self/fd"))
    decoder = ProcessDecoder(SPEC, 2)
    decoder.decode(images())
    running = [each.process for each in decoder._idle.queue if each]
    decoder.close()
    assert running and all(each.returncode is not None for each in running)
    assert len(os.listdir("/proc/self/fd")) == files


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


WORKER = """
import sys, time
from worker.decode import PixelSpec
from worker.process_decoder import ProcessDecoder
decoder = ProcessDecoder(PixelSpec(31, 47, 3), 2)
image = (sys.stdin.buffer.read(), None)
decoder.decode([image] * 2)
print(*(each.process.pid for each in decoder._idle.queue if each), flush=True)
while True:
    decoder.decode([image] * 2)
"""


def test_the_processes_end_with_a_killed_worker() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(saved(scene(2000, 1500), "PNG", compress_level=1))
        process.stdin.close()
        children = [int(pid) for pid in process.stdout.readline().split()]
        assert len(children) == 2 and all(map(is_running, children))
        process.kill()
    for _ in range(300):
        if not any(map(is_running, children)):
            return
        time.sleep(0.1)
    pytest.fail(f"decoding processes still running: {children}")


def test_a_decoding_process_imports_no_heavy_package() -> None:
    script = "import sys, worker.decoding_process; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert not {"tensorflow", "keras", "redis", "rq", "h5py", "multiprocessing"} & set(output.split())
