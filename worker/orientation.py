"""EXIF orientation: turns regions upright, and converts boxes between the stored and the upright image."""

from PIL import Image

Box = tuple[float, float, float, float]
"""The edges of a box: left, top, right and bottom, in pixels."""

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""For each EXIF orientation, Pillow's operation that turns the stored image upright."""


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Apply the EXIF orientation to a stored image, or to a part of a stored image."""
    return image.transpose(_TRANSPOSITIONS[orientation]) if orientation > 1 else image


def stored_box(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """Convert a box in an upright image of `size` to the same area of the stored image."""
    width, height = size
    if is_transposed(orientation):
        left, top, right, bottom = box
        box, width, height = (top, left, bottom, right), height, width
    return _flipped(box, (width, height), orientation)


def upright_box(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """Convert a box in a stored image of `size` to the same area of the upright image."""
    left, top, right, bottom = _flipped(box, size, orientation)
    return (top, left, bottom, right) if is_transposed(orientation) else (left, top, right, bottom)


def _flipped(box: Box, size: tuple[int, int], orientation: int) -> Box:
    left, top, right, bottom = box
    flip_columns, flip_rows = is_flipped(orientation)
    if flip_columns:
        left, right = size[0] - right, size[0] - left
    if flip_rows:
        top, bottom = size[1] - bottom, size[1] - top
    return left, top, right, bottom


def is_transposed(orientation: int) -> bool:
    """Return whether the upright image has the stored image's rows as columns."""
    return orientation >= 5


def is_flipped(orientation: int) -> tuple[bool, bool]:
    """Return whether the stored image's columns, and its rows, are in reverse order in the upright image."""
    return orientation in (2, 3, 7, 8), orientation in (3, 4, 6, 7)
