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
_INSTALL_ADVICE = (
    'Use the GPU image, or install the package with `pip install "classification-server[gpu]"`; '
    + _CPU_ADVICE
)
_DRIVER_ADVICE = f"Check the driver with `nvidia-smi`; {_CPU_ADVICE}"


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
        ModelError: TensorFlow cannot use the processor or the GPU, or a setting needs a GPU and there is none.
    """
    check_processor()
    if settings.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # Hides the cards from TensorFlow and from child processes.
        return _cpu("INFERENCE_DEVICE=cpu")
    if not has_driver():
        return _no_gpu(settings, "there is no NVIDIA driver")
    found = probe_gpu(settings.gpu_memory)
    if "driver" not in found.passed:
        raise ModelError(f"INFERENCE_DEVICE: the NVIDIA driver failed: {found.reason}. {_DRIVER_ADVICE}")
    if not found.cards:
        return _no_gpu(settings, "the NVIDIA driver lists no card")
    return _gpu(settings, found)


def _cpu(reason: str) -> Device:
    device = Device("cpu", processor_name())
    logger.info("device selected: CPU (%s); %s", device.name, reason)
    return device


def _no_gpu(settings: Settings, reason: str) -> Device:
    if settings.device == "gpu":
        raise ModelError(
            f"INFERENCE_DEVICE: expected a GPU, but {reason}. Start the container with access to a GPU, or"
            " set INFERENCE_DEVICE=cpu."
        )
    return _cpu(reason)


def _gpu(settings: Settings, found: Probe) -> Device:
    card = next((each for each in found.cards if each.name == found.gpu), found.cards[0])
    if problem := _problem(found):
        raise ModelError(f"INFERENCE_DEVICE: {card.name} found, but {problem}")
    memory = card.memory_bytes // _MEBI
    if settings.gpu_memory and settings.gpu_memory > memory:
        raise ModelError(
            f"INFERENCE_GPU_MEMORY: expected at most {memory} MiB, the memory of {card.name}, got"
            f" {settings.gpu_memory}. Set it to the share of one worker."
        )
    xla = "xla" in found.passed
    logger.info("device selected: GPU (%s, %d MiB)", card.name, memory)
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
    if found.missing:
        return f"TensorFlow cannot load {', '.join(found.missing)}. {_INSTALL_ADVICE}"
    if not found.cuda and not found.reason:
        return f"the installed TensorFlow supports no GPU. {_INSTALL_ADVICE}"
    return f"TensorFlow cannot use it: {found.reason or 'TensorFlow lists no GPU'}. {_DRIVER_ADVICE}"
