"""Decoders of JPEG against each other: `python -m bench.decoders`.

Each turns the same photos into the pixels that a model takes; those that are not installed are left out
(pip install simplejpeg 'PyTurboJPEG<2' opencv-python-headless). Printed for each: CPU milliseconds an image
on one core, and the mean distance of its pixels, of 255, from Pillow's full decode.
"""

import importlib
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from worker.decode import PixelSpec, decode

PHOTOS = {"12 megapixels": ((4000, 3000), 299), "640×480": ((640, 480), 299), "32×32": ((32, 32), 32)}
SECONDS = 2.0


def photo(size: tuple[int, int]) -> bytes:
    """A made-up photo: smooth shapes and grain, about as large in bytes as a camera's."""
    chance = np.random.default_rng(0)
    shapes = Image.fromarray(chance.integers(0, 256, (9, 12, 3), np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    grain = chance.normal(0, 8, (size[1], size[0], 1))
    file = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(shapes) + grain, 0, 255).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


def pillow_full(data: bytes, side: int) -> Any:
    """Pillow, every pixel decoded."""
    return np.asarray(Image.open(io.BytesIO(data)).resize((side, side), Image.Resampling.BILINEAR))


def ours(data: bytes, side: int) -> Any:
    """What the worker does: Pillow at a reduced scale, orientation and damage looked for."""
    return decode(data, None, PixelSpec(side, side, 3))[0]


def simplejpeg_reduced(data: bytes, side: int) -> Any:
    """The `simplejpeg` package at a reduced scale, resized by Pillow."""
    simplejpeg = importlib.import_module("simplejpeg")
    pixels = simplejpeg.decode_jpeg(data, min_height=2 * side, min_width=2 * side)
    return _resized(pixels, side)


def turbojpeg_reduced(data: bytes, side: int) -> Any:
    """The `PyTurboJPEG` package at a reduced scale, resized by Pillow."""
    module = importlib.import_module("turbojpeg")
    turbo = _kept.setdefault("turbojpeg", module.TurboJPEG())
    width, height, *_ = turbo.decode_header(data)
    scale = next((n for n in (8, 4, 2) if min(width, height) >= n * 2 * side), 1)
    pixels = turbo.decode(data, pixel_format=module.TJPF_RGB, scaling_factor=(1, scale))
    return _resized(pixels, side)


def opencv_reduced(data: bytes, side: int) -> Any:
    """OpenCV at a reduced scale, resized by its own INTER_AREA."""
    cv2 = importlib.import_module("cv2")
    width, height = Image.open(io.BytesIO(data)).size
    scale = next((n for n in (8, 4, 2) if min(width, height) >= n * 2 * side), 1)
    flag = getattr(cv2, f"IMREAD_REDUCED_COLOR_{scale}", cv2.IMREAD_COLOR)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)[..., ::-1]


DECODERS = (pillow_full, ours, simplejpeg_reduced, turbojpeg_reduced, opencv_reduced)
_kept: dict[str, Any] = {}


def _resized(pixels: Any, side: int) -> Any:
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0))


def cpu_ms(run: Callable[[], object]) -> float:
    """The least of many runs."""
    times, end = [], time.monotonic() + SECONDS
    while time.monotonic() < end:
        start = time.thread_time()
        run()
        times.append((time.thread_time() - start) * 1000)
    return min(times)


def main() -> None:
    """Print the table."""
    files = {name: (photo(size), side) for name, (size, side) in PHOTOS.items()}
    print(f"{'CPU ms, distance of 255':22}" + "".join(f"{name:>18}" for name in PHOTOS))
    for decoder in DECODERS:
        try:
            row = []
            for data, side in files.values():
                far = np.abs(decoder(data, side).astype(float) - pillow_full(data, side)).mean()
                row.append(f"{cpu_ms(lambda: decoder(data, side)):10.3f} {far:7.2f}")  # noqa: B023
        except ImportError as error:
            print(f"{decoder.__name__:22} {error}")
            continue
        print(f"{decoder.__name__:22}" + "".join(row))


if __name__ == "__main__":
    main()
