"""Reads the graphics cards from NVIDIA's driver, without TensorFlow."""

import ctypes
from dataclasses import dataclass
from pathlib import Path

LIBRARY = "libcuda.so.1"
"""The driver's library. The driver's installation or the container's runtime adds it to the system."""

_NO_DEVICE, _STUB_LIBRARY = 100, 34
_MAJOR, _MINOR = 75, 76
"""Numbers of the attributes that contain a card's compute capability."""


@dataclass(frozen=True)
class Card:
    """A graphics card: its name, its compute capability such as '9.0', and its memory in bytes."""

    name: str
    capability: str
    memory_bytes: int


class DriverError(Exception):
    """The driver is installed but does not work. The message has the driver's reason."""


def has_driver() -> bool:
    """Return whether the driver's library is installed. The driver does not start."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def list_cards() -> list[Card]:
    """Start the driver, and return the cards that this process may use (see CUDA_VISIBLE_DEVICES).

    Raises:
        DriverError: the driver does not work.
    """
    cuda = ctypes.CDLL(LIBRARY)
    status = cuda.cuInit(0)
    if status in (_NO_DEVICE, _STUB_LIBRARY):
        return []
    _check(cuda, status)
    count = ctypes.c_int()
    _check(cuda, cuda.cuDeviceGetCount(ctypes.byref(count)))
    return [_read_card(cuda, number) for number in range(count.value)]


def _read_card(cuda: ctypes.CDLL, number: int) -> Card:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    _check(cuda, cuda.cuDeviceGet(ctypes.byref(device), number))
    _check(cuda, cuda.cuDeviceGetName(name, len(name), device))
    _check(cuda, cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device))
    for value, attribute in ((major, _MAJOR), (minor, _MINOR)):
        _check(cuda, cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device))
    return Card(name.value.decode(errors="replace"), f"{major.value}.{minor.value}", memory.value)


def _check(cuda: ctypes.CDLL, status: int) -> None:
    if status:
        name, text = ctypes.c_char_p(), ctypes.c_char_p()
        cuda.cuGetErrorName(status, ctypes.byref(name))
        cuda.cuGetErrorString(status, ctypes.byref(text))
        reason = (name.value or b"error %d" % status).decode(), (text.value or b"").decode()
        raise DriverError(": ".join(filter(None, reason)))


def preload_cuda_libraries() -> None:
    """Load the CUDA libraries that TensorFlow does not find in NVIDIA's Python packages.

    TensorFlow 2.21 searches for cuSOLVER in other folders, and uses no GPU if one library is missing. A
    library that is already loaded needs no search. Without a driver, this function does nothing.
    """
    if not has_driver():
        return
    for library in _misplaced_libraries():
        ctypes.CDLL(str(library))


def _misplaced_libraries() -> list[Path]:
    from importlib.util import find_spec

    nvidia = find_spec("nvidia")
    folders = nvidia.submodule_search_locations if nvidia else None
    return [each for folder in folders or () for each in Path(folder).glob("cusolver/lib/libcusolver.so.*")]
