"""Finds the device that runs the model, or refuses to start with a reason."""

import logging
import os
from dataclasses import dataclass

from shared.settings import Settings
from worker.cuda_driver import has_driver
from worker.gpu_probe import Probe, probe_gpu
from worker.model_allowlist import ModelError
from worker.processor import check_processor, processor_name

logger = logging.getLogger(__name__)

_MEBI = 2**20
_CPU_ADVICE = "to run the model on the CPU, set INFERENCE_DEVICE=cpu."
_DRIVER_ADVICE = f"Check the driver with `nvidia-smi`; {_CPU_ADVICE}"
_INSTALL_ADVICE = f"Use the GPU image, or run `pip install 'classification-server[gpu]'`; {_CPU_ADVICE}"
_NO_CUDA = (
    "the installed TensorFlow is made for CPUs only. Use the GPU image, or run `pip uninstall tensorflow-cpu`"
    f" and `pip install 'classification-server[gpu]'`; {_CPU_ADVICE}"
)
_NO_NVML = (
    "the driver's library libnvidia-ml.so.1 is missing. In a container, set"
    f" NVIDIA_DRIVER_CAPABILITIES=compute,utility; {_CPU_ADVICE}"
)


@dataclass(frozen=True)
class Device:
    """The device that runs the model.

    `kind` is 'cpu' or 'gpu'. `name` is the model of the processor or of the card. `memory_bytes` is the
    card's memory, or 0 for a CPU. `xla` is False if XLA does not work on the card. TensorFlow then runs the
    model without XLA.
    """

    kind: str
    name: str
    memory_bytes: int = 0
    xla: bool = True


def find_device(settings: Settings) -> Device:
    """Return the device for the model. Call this function before TensorFlow uses a device.

    A GPU is tried in a separate process. Without a driver, no process starts.

    Raises:
        ModelError: TensorFlow cannot use the processor or the GPU, or the settings need a missing GPU.
    """
    check_processor()
    if settings.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # Hides the cards from TensorFlow and from child processes.
        return _cpu(settings, "INFERENCE_DEVICE=cpu")
    if not has_driver():
        return _no_gpu(settings, "there is no NVIDIA driver")
    found = probe_gpu(settings.gpu_memory)
    if "driver" not in found.passed:
        raise ModelError(f"INFERENCE_DEVICE: the NVIDIA driver failed: {found.reason}. {_DRIVER_ADVICE}")
    if not found.cards:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hint = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
        return _no_gpu(settings, f"the NVIDIA driver lists no card{hint}")
    return _gpu(settings, found)


def _no_gpu(settings: Settings, reason: str) -> Device:
    if settings.device == "gpu":
        raise ModelError(
            f"INFERENCE_DEVICE: expected a GPU, but {reason}. Give the worker access to a GPU, or set"
            " INFERENCE_DEVICE=cpu."
        )
    return _cpu(settings, reason)


def _cpu(settings: Settings, reason: str) -> Device:
    device = Device("cpu", processor_name())
    logger.info("device selected: CPU (%s): %s", device.name, reason)
    if settings.gpu_memory:
        logger.warning("INFERENCE_GPU_MEMORY ignored: the model runs on the CPU")
    return device


def _gpu(settings: Settings, found: Probe) -> Device:
    card = next((each for each in found.cards if each.name == found.gpu), found.cards[0])
    memory = card.memory_bytes // _MEBI
    if settings.gpu_memory and settings.gpu_memory > memory:
        raise ModelError(
            f"INFERENCE_GPU_MEMORY: expected at most {memory} MiB, the memory of {card.name}, got"
            f" {settings.gpu_memory}. Set it to the share of one worker."
        )
    if problem := _problem(found):
        raise ModelError(f"INFERENCE_DEVICE: {card.name} found, but {problem}")
    logger.info("device selected: GPU (%s, %d MiB)", card.name, memory)
    xla = "xla" in found.passed
    if not xla:
        logger.warning(
            "XLA failed on %s (compute capability %s), so the model runs without XLA: %s",
            *(card.name, card.capability, found.reason),
        )
    return Device("gpu", card.name, card.memory_bytes, xla)


def _problem(found: Probe) -> str:
    """Return why TensorFlow cannot use the card and what to do, or '' if TensorFlow can use the card."""
    if "run" in found.passed:
        return ""
    if "tensorflow" in found.passed:
        return f"a small operation fails on it: {found.reason}. {_DRIVER_ADVICE}"
    if "libnvidia-ml.so.1" in found.missing:
        return _NO_NVML
    if found.missing:
        return f"TensorFlow cannot load {', '.join(found.missing)}. {_INSTALL_ADVICE}"
    if found.cuda is False:
        return _NO_CUDA
    return f"TensorFlow cannot use it: {found.reason or 'TensorFlow lists no GPU'}. {_DRIVER_ADVICE}"
