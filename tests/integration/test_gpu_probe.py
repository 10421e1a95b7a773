"""The small operation that tries a device, on the device that every machine has."""

from pathlib import Path

import pytest

from tests.cuda_stub import COMPILER, build_driver, search
from worker.gpu_memory import limit_gpu_memory
from worker.gpu_probe import try_operation


@pytest.mark.parametrize("xla", [False, True])
def test_the_operation_gives_the_right_result(xla: bool) -> None:
    try_operation("CPU:0", xla=xla)


@pytest.mark.parametrize("xla", [False, True])
def test_the_operation_does_not_run_on_another_device(xla: bool) -> None:
    with pytest.raises(Exception, match="instead of GPU:7"):
        try_operation("GPU:7", xla=xla)


def test_a_limit_of_the_memory_without_a_card_is_no_error() -> None:
    limit_gpu_memory(1000)
    limit_gpu_memory(None)


@pytest.mark.skipif(COMPILER is None, reason="the stand-in for the driver needs a C compiler")
@pytest.mark.parametrize("device", ["auto", "gpu"])
def test_a_tensorflow_for_cpus_is_refused_where_there_is_a_card(tmp_path: Path, device: str) -> None:
    build_driver(tmp_path)
    assert search(tmp_path, INFERENCE_DEVICE=device).startswith(
        "refused: INFERENCE_DEVICE: Stub 9000 found, but the installed TensorFlow is made for CPUs only. Use"
    )
