"""The search for a device. A stand-in takes the place of the process that tries the card with TensorFlow."""

import logging
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from shared.settings import Settings
from tests.cuda_stub import COMPILER, build, build_driver, search
from worker import cuda_driver, devices
from worker.devices import Device, find_device
from worker.gpu_probe import probe_gpu
from worker.model_allowlist import ModelError
from worker.processor import lacks_avx, processor_name

ROOT = Path(__file__).parent.parent.parent
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="the stand-in for the driver needs a C compiler")

DRIVER = (
    '{"driver": true, "cards": [{"name": "Card", "capability": "12.0", "memory_bytes": 17179869184}]}',
    '{"cuda": true}',
)
FOUND = (*DRIVER, '{"tensorflow": true, "gpu": "Card"}')
RUN = (*FOUND, '{"run": true}')
NO_LIBRARY = """\
I0000 00:00:1795828822.787100   21476 dso_loader.cc:144] Could not load dynamic library 'libcusolver.so.11'; \
dlerror: libcusolver.so.11: cannot open shared object file: No such file or directory
W0000 00:00:1795828801.189492   20979 gpu_device.cc:2365] Cannot dlopen some GPU libraries. Please make sure …
"""
TOO_SMALL = """\
I0000 00:00:1795828822.787100   21476 dso_loader.cc:133] Successfully opened dynamic library libcudnn.so.9
W0000 00:00:1795828801.189492   20979 gpu_device.cc:2432] Ignoring visible gpu device with core count: 5.
"""
ABORT = "import os; os.abort()"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch):
    """Replaces the process that tries the card by a process that prints these lines and runs this code."""

    def install(lines: tuple[str, ...], code: str = "", log: str = "", seconds: float = 60) -> None:
        script = f"import sys; print({chr(10).join(lines)!r}, flush=True); sys.stderr.write({log!r}); {code}"
        command = (sys.executable, "-c", script)
        probe_gpu.cache_clear()
        monkeypatch.setattr(devices, "has_driver", lambda: True)
        monkeypatch.setattr(devices, "probe_gpu", partial(probe_gpu, seconds=seconds, command=command))

    return install


def refusal(**settings: object) -> str:
    with pytest.raises(ModelError) as caught:
        find_device(Settings(**settings))  # type: ignore[arg-type]
    return str(caught.value)


def test_a_working_card_is_found(stand_in, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.INFO)
    started = tmp_path / "started"
    code = f"open({str(started)!r}, 'a').write('once')"
    stand_in((*RUN, "a library's output", '{"xla": true}'), code)
    assert find_device(Settings()) == Device("gpu", "Card", 16 * 2**30)
    assert [each.getMessage() for each in caplog.records] == ["device selected: GPU (Card, 16384 MiB)"]
    assert find_device(Settings()).xla and started.read_text() == "once"


def test_a_crash_after_the_last_stage_does_not_matter(stand_in) -> None:
    stand_in((*RUN, '{"xla": true}'), ABORT)
    assert find_device(Settings()).xla


@pytest.mark.parametrize(
    ("lines", "code", "reason"),
    [
        (RUN, ABORT, "the process ended with SIGABRT: Cannot dlopen some GPU libraries. Please make sure …"),
        (RUN, "import time; time.sleep(60)", "no result within 1 s: Cannot dlopen"),
        ((*RUN, '{"reason": "ptxas does not support sm_120"}'), "", "ptxas does not support sm_120"),
    ],
)
def test_a_card_without_xla_is_used_with_a_warning(
    stand_in, caplog: pytest.LogCaptureFixture, lines: tuple[str, ...], code: str, reason: str
) -> None:
    stand_in(lines, code, NO_LIBRARY, seconds=1 if "sleep" in code else 60)
    assert find_device(Settings()) == Device("gpu", "Card", 16 * 2**30, xla=False)
    (warning,) = caplog.messages
    start = "XLA failed on Card (compute capability 12.0), so the model runs without XLA: "
    assert warning.startswith(start + reason)


@pytest.mark.parametrize("device", ["auto", "gpu"])
@pytest.mark.parametrize(
    ("lines", "code", "log", "reason"),
    [
        (DRIVER, "", NO_LIBRARY, "TensorFlow cannot load libcusolver.so.11. Use the GPU image, or run `pip"),
        (DRIVER, ABORT, NO_LIBRARY.replace("libcusolver.so.11", "libnvidia-ml.so.1"), "=compute,utility; to"),
        (DRIVER, "", TOO_SMALL, "it: Ignoring visible gpu device with core count: 5. Check the driver with"),
        (
            DRIVER,
            "",
            "",
            "Card found, but TensorFlow cannot use it: TensorFlow lists no GPU. Check the driver",
        ),
        (DRIVER[:1], "sys.exit(3)", "", "TensorFlow cannot use it: the process ended with status 3. Check"),
        (
            (DRIVER[0], '{"cuda": false}'),
            "",
            "",
            "the installed TensorFlow is made for CPUs only. Use the GPU",
        ),
        (FOUND, ABORT, "", "a small operation fails on it: the process ended with SIGABRT. Check the driver"),
        ((*FOUND, '{"reason": "no kernel image"}'), "", "", "operation fails on it: no kernel image. Check"),
        ((), "os.kill(os.getpid(), 11)", "", "the NVIDIA driver failed: the process ended with"),
    ],
)
def test_a_card_that_tensorflow_cannot_use_is_refused(
    stand_in, device: str, lines: tuple[str, ...], code: str, log: str, reason: str
) -> None:
    stand_in(lines, f"import os; {code}" if code else "", log)
    text = refusal(device=device)
    assert text.startswith("INFERENCE_DEVICE: ") and reason in text
    assert text.endswith("to run the model on the CPU, set INFERENCE_DEVICE=cpu.")


def test_a_card_that_hangs_is_refused(stand_in) -> None:
    stand_in(FOUND, "import time; time.sleep(60)", seconds=1)
    assert "a small operation fails on it: no result within 1 s. Check the driver" in refusal()


def test_more_memory_than_the_card_has_is_refused(stand_in) -> None:
    stand_in(RUN)
    assert refusal(gpu_memory=16385) == (
        "INFERENCE_GPU_MEMORY: expected at most 16384 MiB, the memory of Card, got 16385. Set it to the share"
        " of one worker."
    )
    assert find_device(Settings(gpu_memory=16384)).kind == "gpu"


def test_the_limit_of_the_memory_applies_to_the_probe_too(stand_in, tmp_path: Path) -> None:
    stand_in(RUN, f"open({str(tmp_path / 'limit')!r}, 'w').write(sys.argv[1])")
    find_device(Settings(gpu_memory=700))
    assert (tmp_path / "limit").read_text() == "700"


# ---------------------------------------------------------------- without a card


def test_without_a_driver_the_cpu_is_used_and_no_process_starts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libabsent.so.1")
    monkeypatch.setattr(subprocess, "run", None)
    cuda_driver.preload_cuda_libraries()
    assert find_device(Settings()) == Device("cpu", processor_name())
    assert caplog.messages == [f"device selected: CPU ({processor_name()}): there is no NVIDIA driver"]
    assert refusal(device="gpu") == (
        "INFERENCE_DEVICE: expected a GPU, but there is no NVIDIA driver. Give the worker access to a GPU, or"
        " set INFERENCE_DEVICE=cpu."
    )


def test_a_limit_without_a_gpu_causes_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libabsent.so.1")
    find_device(Settings(gpu_memory=1000))
    assert caplog.messages == ["INFERENCE_GPU_MEMORY ignored: the model runs on the CPU"]


def test_the_cpu_is_used_if_it_is_set(stand_in, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(RUN, "sys.exit(1)")
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert find_device(Settings(device="cpu")) == Device("cpu", processor_name())
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"


# ---------------------------------------------------------------- with a driver


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("driver")
    build_driver(folder)
    return folder


@needs_compiler
@pytest.mark.parametrize("environ", [{"STUB_CARDS": "0"}, {"STUB_STATUS": "100"}])
def test_without_cards_the_cpu_is_used(driver: Path, environ: dict[str, str]) -> None:
    found = search(driver, **environ)
    assert "Device(kind='cpu'" in found and "): the NVIDIA driver lists no card\n" in found
    found = search(driver, INFERENCE_DEVICE="gpu", CUDA_VISIBLE_DEVICES="7", **environ)
    reason = "expected a GPU, but the NVIDIA driver lists no card (CUDA_VISIBLE_DEVICES is '7')"
    assert found.startswith(f"refused: INFERENCE_DEVICE: {reason}. Give the worker access to a GPU, or set")


@needs_compiler
def test_a_driver_that_does_not_work_is_refused(driver: Path) -> None:
    assert search(driver, STUB_STATUS="803").startswith(
        "refused: INFERENCE_DEVICE: the NVIDIA driver failed: CUDA_ERROR_STUB: the stub does not work. Check"
    )


@needs_compiler
def test_cusolver_is_loaded_from_nvidias_package(driver: Path, tmp_path: Path) -> None:
    folder = tmp_path / "nvidia" / "cusolver" / "lib"
    folder.mkdir(parents=True)
    (tmp_path / "empty.c").touch()
    (tmp_path / "nvidia/__init__.py").touch()  # hides an installed package of this name
    build(tmp_path / "empty.c", folder / "libcusolver.so.11")
    load = "import ctypes; ctypes.CDLL('libcusolver.so.11')"
    preload = "from worker.cuda_driver import preload_cuda_libraries as preload; preload(); "
    environ = os.environ | {"LD_LIBRARY_PATH": str(driver), "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    for code, status in ((load, 1), (preload + load, 0)):
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, check=False)
        assert done.returncode == status, done.stderr


# ---------------------------------------------------------------- the processor


def test_a_processor_without_avx_is_recognized() -> None:
    assert lacks_avx("model name\t: Old\nflags\t\t: fpu sse4_2 avx512_no\n")
    assert not lacks_avx("flags\t\t: fpu avx avx2\n")
    assert not lacks_avx("Features\t: fp asimd\n") and not lacks_avx("")


def test_a_processor_without_avx_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(
        "worker.processor._processor_facts", lambda: "model name : Old  CPU\nflags : sse4_2\n"
    )
    text = refusal()
    assert text.startswith(
        "TensorFlow needs a processor with AVX instructions, which Old CPU lacks. Use another"
    )
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert find_device(Settings(device="cpu")).name == "Old CPU"
