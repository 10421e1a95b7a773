"""Resizes decoded images on a graphics card, with Pillow's filters, as products of matrices in TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from worker.decode import Pixels, PixelSpec
from worker.orientation import Box, is_flipped, is_transposed, stored_box
from worker.resize_matrices import resize_matrix

RUN_SIZES = (8, 1)
"""Numbers of inputs that one run of the graph resizes, in descending order."""

MAX_RUN_PIXELS = 2**24
"""Maximum number of pixels that a run of several inputs reads."""

MAX_MATRICES = 32
"""Maximum number of matrices that stay in the card's memory. A matrix has at most 5 MB."""

_LUMINANCE = (19595 / 65536, 38470 / 65536, 7471 / 65536)
"""The weights of red, green and blue in Pillow's conversion to grey."""


@dataclass(frozen=True)
class Part:
    """An input of the model: a region of a decoded image.

    `image` is a TensorFlow tensor, uint8 [height, width, 3], as stored in the file. `box` has the edges of
    the region in the stored image.
    """

    image: Any
    box: tuple[int, int, int, int]
    orientation: int

    @classmethod
    def of(cls, image: Any, upright: Box, size: tuple[int, int], orientation: int) -> "Part":
        """Return a part of an image for a box in the upright image, whose width and height are `size`."""
        left, top, right, bottom = map(int, stored_box(upright, size, orientation))
        return cls(image, (left, top, right, bottom), orientation)

    @property
    def width(self) -> int:
        """The region's width in the stored image, in pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        """The region's height in the stored image, in pixels."""
        return self.box[3] - self.box[1]


class CardResizer:
    """Resizes parts of images to the model's input size.

    All sizes of images use the same graphs, so a new size causes no compilation. The height and width of a
    part are padded to a multiple of a power of two, so that cuBLAS plans products for few sizes.
    """

    def __init__(self, spec: PixelSpec) -> None:
        import tensorflow as tf

        self._spec = spec
        # Whole numbers up to 2048 are exact in float16, and weights have a relative error of 1/2048.
        self._matrix = lru_cache(MAX_MATRICES)(self._make_matrix)
        image, matrix = tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([None, None], tf.float16)
        numbers = tf.TensorSpec([None, 7], tf.int32)
        self._runs = {
            size: tf.function(
                self._resize_run,
                input_signature=[[image] * size, [matrix] * size, [matrix] * size, numbers],
                autograph=False,
            ).get_concrete_function()
            for size in RUN_SIZES
        }

    def resize(self, parts: Sequence[Part]) -> Pixels:
        """Return the inputs of the model, uint8 [parts, height, width, channels]."""
        pixels = np.empty((len(parts), *self._shape), np.uint8)
        at = 0
        while at < len(parts):
            run = self._next_run(parts[at : at + RUN_SIZES[0]])
            pixels[at : at + len(run)] = self._run(run)
            at += len(run)
        return pixels

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self._spec.height, self._spec.width, self._spec.channels

    def _next_run(self, parts: Sequence[Part]) -> Sequence[Part]:
        full = len(parts) == RUN_SIZES[0]
        return parts if full and sum(p.width * p.height for p in parts) <= MAX_RUN_PIXELS else parts[:1]

    def _run(self, parts: Sequence[Part]) -> Pixels:
        rows, columns, numbers = [], [], []
        for part in parts:
            transposed = is_transposed(part.orientation)
            height, width = (self._shape[1], self._shape[0]) if transposed else self._shape[:2]
            flip_columns, flip_rows = is_flipped(part.orientation)
            rows.append(self._matrix(part.height, height, flip_rows))
            columns.append(self._matrix(part.width, width, flip_columns))
            numbers.append([*part.box, *((2, 0, 1) if transposed else (0, 2, 1))])
        images = [part.image for part in parts]
        pixels = self._runs[len(parts)](images, rows, columns, np.array(numbers, np.int32))
        return np.asarray(pixels)

    def _make_matrix(self, length: int, size: int, flipped: bool) -> Any:
        import tensorflow as tf

        matrix = resize_matrix(length, size, self._spec.resize, flipped=flipped)
        padding = padded(length) - length
        return tf.constant(np.pad(matrix, ((0, 0), (0, padding))).astype(np.float16))

    def _resize_run(self, images: Any, rows: Any, columns: Any, numbers: Any) -> Any:
        """Return the resized parts, uint8 [parts, height, width, channels]."""
        import tensorflow as tf

        size = len(images)
        parts = [self._resize_part(images[i], rows[i], columns[i], numbers[i]) for i in range(size)]
        shape = [size, self._spec.height, self._spec.width, 3]
        pixels = tf.reshape(tf.cast(tf.stack(parts), tf.float32), shape)
        if self._spec.channels == 1:
            pixels = tf.reduce_sum(pixels * tf.constant(_LUMINANCE), -1, keepdims=True)
        elif self._spec.color == "bgr":
            pixels = pixels[..., ::-1]
        # Pillow's bilinear interpolation does not round up. A tenth covers the error of float16.
        rounding = 0.1 if self._spec.resize == "bilinear" else 0.5
        return tf.cast(tf.clip_by_value(pixels + rounding, 0.0, 255.0), tf.uint8)

    def _resize_part(self, image: Any, rows: Any, columns: Any, numbers: Any) -> Any:
        import tensorflow as tf

        left, top, right, bottom = tf.unstack(numbers[:4])
        # TensorFlow has no kernels for `tf.slice` and `tf.stack` of uint8 on a card.
        part = image[top:bottom, left:right]
        height, width = tf.shape(rows)[1], tf.shape(columns)[1]
        part = tf.pad(part, [[0, height - (bottom - top)], [0, width - (right - left)], [0, 0]])
        part = tf.matmul(rows, tf.reshape(tf.cast(part, tf.float16), [height, width * 3]))
        part = tf.transpose(tf.reshape(part, [-1, width, 3]), [0, 2, 1])
        part = tf.matmul(tf.reshape(part, [-1, width]), columns, transpose_b=True)
        part = tf.reshape(part, [-1, 3, tf.shape(columns)[0]])
        return tf.transpose(part, numbers[4:])


def padded(length: int) -> int:
    """Return the smallest padded length that is not smaller than `length`: four lengths for each octave."""
    step = max(1 << (length - 1).bit_length() >> 3, 16)
    return -(-length // step) * step
