"""Decodes JPEG images on a graphics card with NVIDIA's library nvImageCodec.

This code was written for nvidia-nvimgcodec-cu12 0.9.0. The tests run it with the library's decoder for the
CPU.

- `fancy_upsampling` enlarges color planes as libjpeg does. The library's default changed from off to on in
  version 0.9.
- The library loads each extension that it finds. Extensions for JPEG 2000 and TIFF print errors if their own
  libraries are missing, so this module lets it find only the extensions for JPEG, in a folder of links. From
  this folder, the extension does not find nvJPEG, so this module loads nvJPEG first.
- The library queues its work on CUDA's default stream. TensorFlow's streams do not wait for this stream, so
  `decode` waits for it.
"""

import ctypes
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from shared.cores import available_cores


class JpegCodec:
    """Decodes plain JPEG images to tensors on the first graphics card, or on the CPU for tests.

    Raises:
        ImportError: the library is not installed.
        RuntimeError: the library finds no card, or no decoder.
    """

    def __init__(self, *, cpu: bool = False) -> None:
        codec = self._codec = _import_nvimgcodec()
        on_card = (codec.HW_GPU_ONLY, codec.GPU_ONLY, codec.HYBRID_CPU_GPU)
        self._decoder = codec.Decoder(
            device_id=codec.NVIMGCODEC_DEVICE_CPU_ONLY if cpu else 0,
            max_num_cpu_threads=available_cores(),
            backends=[codec.Backend(kind) for kind in ((codec.CPU_ONLY,) if cpu else on_card)],
            options=":fancy_upsampling=1",
        )
        self._params = codec.DecodeParams(apply_exif_orientation=False, color_spec=codec.SRGB)
        self._cuda = None if cpu else ctypes.CDLL("libcuda.so.1")

    def decode(self, files: Sequence[bytes]) -> list[Any]:
        """Return, for each file, a TensorFlow tensor, uint8 [height, width, 3], as stored in the file.

        If the library can't decode a file, the list has None in its place.

        Raises:
            RuntimeError: the card failed.
        """
        streams = [self._codec.CodeStream(file) for file in files]
        images = self._decoder.decode(streams, params=self._params)
        if self._cuda and (status := self._cuda.cuStreamSynchronize(None)):
            raise RuntimeError(f"cuStreamSynchronize returned {status}")
        return [image and self._tensor(image) for image in images]

    def _tensor(self, image: Any) -> Any:
        import tensorflow as tf

        if self._cuda:
            return tf.experimental.dlpack.from_dlpack(image.to_dlpack())
        return tf.constant(np.asarray(image))  # the library needs CUDA to share memory


def _import_nvimgcodec() -> Any:
    packages = [Path(each) for each in importlib.import_module("nvidia").__path__]
    for library in _files(packages, "nvjpeg/lib/libnvjpeg.so.*"):
        ctypes.CDLL(str(library))
    with TemporaryDirectory() as folder:
        for extension in _files(packages, "nvimgcodec/extensions/*jpeg_*"):
            Path(folder, extension.name).symlink_to(extension)
        os.environ.setdefault("NVIMGCODEC_EXTENSIONS_PATH", folder)
        # The library would print each damaged image, which is no error of this service.
        os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
        return importlib.import_module("nvidia.nvimgcodec")


def _files(folders: Sequence[Path], pattern: str) -> list[Path]:
    # The package `nvidia` may have several folders, of which the first has precedence.
    return next((found for folder in folders if (found := list(folder.glob(pattern)))), [])
