"""Refuses TIFF files that Pillow would read slowly, or whose first picture is not their main picture."""

from collections.abc import Mapping

from shared.image_error import ImageError
from shared.tiff_tags import BYTE_TYPES, MAX_LATER_TAGS, TRUNCATED, Tag, later_directories, tags

MAX_VALUES = 50_000
"""Maximum number of values of one TIFF tag.

A TIFF image can consist of millions of strips, with one tag value for each strip. Without this limit, reading
the header of such an image would take seconds and gigabytes of memory."""

MIN_LARGER = 4
"""Minimum ratio of a later page's pixels to the first page's pixels with which the first page is a thumbnail.

Pages of a document have similar sizes, also if no tag marks the first page as a thumbnail."""

_WIDTH, _HEIGHT, _PHOTOMETRIC, _DNG_VERSION = 256, 257, 262, 50706
_KIND, _OLD_KIND = 254, 255
_RAW_COLORS = {32803, 34892}
"""Values of the tag PhotometricInterpretation for a sensor's raw values."""


def check_tiff(data: bytes) -> None:
    """Refuse a TIFF file with too many values in a tag, a raw photo, and a thumbnail before a larger picture.

    Raises:
        ImageError: the file is refused.
    """
    first: dict[int, Tag] = {}
    try:
        for tag in tags(data):
            # Pillow ignores a tag with more values than fit into the file.
            if MAX_VALUES < tag.values <= len(data) // 2 and tag.type not in BYTE_TYPES:
                detail = f"tag {tag.id} of the TIFF image has {tag.values} values, more than {MAX_VALUES}"
                raise ImageError("damaged", f"{detail}. Save the image again, in fewer strips.")
            if len(first) < MAX_LATER_TAGS:
                first[tag.id] = tag
        _check_pictures(data, first)
    except TRUNCATED:
        return  # the file is truncated: Pillow decides whether the missing part matters


def _check_pictures(data: bytes, first: Mapping[int, Tag]) -> None:
    later = list(later_directories(data))
    colors = {_value(each, _PHOTOMETRIC) for each in (first, *(tags for _, tags in later))}
    if _DNG_VERSION in first or colors & _RAW_COLORS:
        detail = "the file is a raw photo of a camera, which is not supported"
        raise ImageError("unsupported", f"{detail}. Export it as JPEG.")
    factor = 1 if _is_thumbnail(first) else MIN_LARGER
    for is_part, each in later:
        _check_picture(first, each, 1 if is_part else factor)


def _is_thumbnail(directory: Mapping[int, Tag]) -> bool:
    return bool(_value(directory, _KIND) & 1) or _value(directory, _OLD_KIND) == 2


def _check_picture(first: Mapping[int, Tag], other: Mapping[int, Tag], factor: int) -> None:
    if _pixels(other) > _pixels(first) and _pixels(other) >= factor * _pixels(first):
        detail = f"the TIFF image begins with a thumbnail of {_size(first)} pixels, before a picture of"
        detail += f" {_size(other)} pixels, which is not supported"
        raise ImageError("unsupported", f"{detail}. Save the large picture alone.")


def _value(directory: Mapping[int, Tag], tag: int) -> int:
    return directory[tag].first if tag in directory else 0


def _pixels(directory: Mapping[int, Tag]) -> int:
    return _value(directory, _WIDTH) * _value(directory, _HEIGHT)


def _size(directory: Mapping[int, Tag]) -> str:
    return f"{_value(directory, _WIDTH)}×{_value(directory, _HEIGHT)}"
