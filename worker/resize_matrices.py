"""Computes the matrices that resize an image as Pillow does: rows first, then columns.

An image of `length` rows becomes an image of `size` rows by multiplication with a matrix [size, length]. The
same holds for columns.
"""

import numpy as np
from numpy.typing import NDArray

from worker.decode import REDUCING_GAP

Matrix = NDArray[np.float32]


def resize_matrix(length: int, size: int, resize: str, *, flipped: bool = False) -> Matrix:
    """Return the matrix, float32 [size, length], of Pillow's filter for INPUT_RESIZE=`resize`.

    If `flipped` is True, the matrix also reverses the order of the rows or columns.
    """
    kinds = {"antialias": _antialias, "bilinear": _bilinear, "nearest": _nearest}
    matrix = kinds[resize](length, size)
    return matrix[:, ::-1] if flipped else matrix


def _antialias(length: int, size: int) -> Matrix:
    """Return the triangle filter after a reduction by a whole number, as Pillow's `reducing_gap` does."""
    factor = int(length / size / REDUCING_GAP) or 1
    reduced = -(-length // factor)
    # The last block of the reduction may be smaller than the others; `scale` counts in whole blocks.
    scale = length / factor / size
    support = max(scale, 1.0)
    centers = (np.arange(size) + 0.5) * scale
    first = (centers - support + 0.5).astype(int)
    columns = first[:, None] + np.arange(int(2 * support) + 2)
    weights = np.maximum(1 - np.abs((columns + 0.5 - centers[:, None]) / support), 0)
    weights[(columns < 0) | (columns >= reduced)] = 0
    weights /= weights.sum(1, keepdims=True)
    matrix = np.zeros((size, reduced), np.float32)
    np.add.at(matrix, (np.arange(size)[:, None], columns.clip(0, reduced - 1)), weights)
    blocks = np.minimum(factor, length - factor * np.arange(reduced))
    return np.repeat(matrix / blocks.astype(np.float32), blocks, axis=1)


def _bilinear(length: int, size: int) -> Matrix:
    """Return the interpolation between two pixels, with repeated edges."""
    at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    low = at.astype(int)
    matrix = np.zeros((size, length), np.float32)
    np.add.at(matrix, (np.arange(size), low), 1 - (at - low))
    np.add.at(matrix, (np.arange(size), np.minimum(low + 1, length - 1)), at - low)
    return matrix


def _nearest(length: int, size: int) -> Matrix:
    # Pillow adds the same step again and again; a product would round differently at the edges of pixels.
    step = length / size
    at = np.add.accumulate([0.5 * step, *[step] * (size - 1)]).astype(int)
    matrix = np.zeros((size, length), np.float32)
    matrix[np.arange(size), np.minimum(at, length - 1)] = 1
    return matrix
