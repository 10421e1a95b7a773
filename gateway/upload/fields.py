"""Checks an upload's form fields and the headers of its image files, before a job is created."""

from collections.abc import Callable
from typing import TypeVar

from gateway.problem import Problem, field_problem
from gateway.upload.form import EXAMPLE, Form
from gateway.upload.sizes import check_image_size, check_images
from shared.image_header import ImageError, upright_size
from shared.job import Options, Region
from shared.settings import Settings

T = TypeVar("T")

TRUE, FALSE = ("1", "true", "on", "yes"), ("", "0", "false", "off", "no")

MAX_DIGITS = 9
"""Maximum number of digits of a number in a form. A longer number is replaced by 10**MAX_DIGITS."""

REGION_FORMS = {"xy": "x,y,side", "yx": "y,x,side"}
"""The order of a region's three numbers. Each key is a value of the setting REGION_ORDER."""

_IMAGE_STATUS = {"unsupported": 415, "damaged": 422, "too-large": 413}


def read_upload(form: Form, settings: Settings) -> tuple[bytes, Options]:
    """Return the bytes of the form's only image, and the job's options.

    Raises:
        Problem: the form, the image's header or a field is invalid. The error names every invalid field.
    """
    images = _images(form)
    if len(images) > 1:
        detail = f"expected one image, got {len(images)} images. Send several images to POST /jobs."
        raise field_problem(400, "blob", detail)
    return images[0], _options(form, settings, _upright_size(images[0], settings, "blob"))


def read_uploads(form: Form, settings: Settings) -> tuple[list[bytes], Options]:
    """Return the bytes of a form's images, and the job options. All images have the same options.

    Raises:
        Problem: the form, an image's header or a field is invalid. If there are several images, the error
            names the invalid image by its number.
    """
    images = _images(form)
    check_images(images, settings)
    names = ["blob"] if len(images) == 1 else [f"blob {number}" for number in range(1, len(images) + 1)]
    sizes = [_upright_size(image, settings, name) for image, name in zip(images, names, strict=True)]
    smallest = (min(width for width, _ in sizes), min(height for _, height in sizes))
    return images, _options(form, settings, smallest)


def _images(form: Form) -> list[bytes]:
    if images := form.files.get("blob"):
        return images
    if "blob" in form.fields:
        detail = "expected a file, got text. With curl, put an @ before the file's name (blob=@photo.jpg)."
        raise field_problem(400, "blob", detail)
    others = ", ".join(sorted({*form.files, *form.fields})[:5])
    found = f"a form with only: {others[:200]}" if others else "an empty or malformed form"
    raise field_problem(400, "blob", f"expected an image, got {found}. {EXAMPLE}")


def _upright_size(image: bytes, settings: Settings, name: str) -> tuple[int, int]:
    if not image:
        raise field_problem(400, name, f"expected an image, got an empty file. {EXAMPLE}")
    check_image_size(image, settings, name)
    try:
        return upright_size(image, *settings.pixel_limits)
    except ImageError as error:
        raise field_problem(_IMAGE_STATUS[error.kind], name, str(error)) from None


def _options(form: Form, settings: Settings, size: tuple[int, int]) -> Options:
    errors: dict[str, Problem] = {}

    def read(name: str, default: T, parse: Callable[[str], T]) -> T:
        values = form.fields.get(name)
        if not values:
            return default
        try:
            if len(values) > 1:
                raise Problem(400, f"expected one value, got {len(values)}. Send the field once.")
            return parse(values[0].strip())
        except Problem as error:
            errors[name] = error
            return default

    regions = read("regions", None, lambda text: _regions(text, size, settings))
    top_n = read("top_n", 5, _top_n)
    consolidate = read("consolidate", False, _boolean)
    if errors:
        status = min(error.status for error in errors.values())
        fields = {name: str(error) for name, error in errors.items()}
        raise Problem(status, " ".join(f"{name}: {text}" for name, text in fields.items()), fields=fields)
    return Options(regions, top_n, consolidate)


def _regions(text: str, size: tuple[int, int], settings: Settings) -> tuple[Region, ...] | None:
    """Parse a list of regions such as `x,y,side;x,y,side`.

    If the text is empty, return None, which means the whole image.
    """
    parts = [part.strip() for part in text.removesuffix(";").split(";")] if text else []
    if len(parts) > settings.max_regions:
        detail = f"expected at most {settings.max_regions} regions, got {len(parts)} regions"
        raise Problem(422, f"{detail}. Send the other regions in another request.")
    regions = [_region(part, number, settings.region_order) for number, part in enumerate(parts, 1)]
    for number, region in enumerate(regions, 1):
        _check_region(region, number, size)
    return tuple(regions) or None


def _region(part: str, number: int, order: str) -> Region:
    numbers = [_whole_number(text.strip()) for text in part.split(",")]
    if len(numbers) != 3 or None in numbers:
        expected = f"expected region {number} as three whole numbers {REGION_FORMS[order]}"
        raise Problem(400, f"{expected}, got {part[:40]!r}. Separate regions by semicolons.")
    first, second, side = (value or 0 for value in numbers)
    return Region(first, second, side) if order == "xy" else Region(second, first, side)


def _check_region(region: Region, number: int, size: tuple[int, int]) -> None:
    width, height = size
    found = f"got region {number} (x={region.x}, y={region.y}, side={region.side})"
    if region.side < 1:
        raise Problem(422, f"expected a side of at least 1 pixel, {found}. Make the region larger.")
    if region.x < 0 or region.y < 0 or region.x + region.side > width or region.y + region.side > height:
        expected = f"expected regions inside the image of {width}×{height} pixels"
        raise Problem(422, f"{expected}, {found}. Move the region or make it smaller.")


def _top_n(text: str) -> int:
    value, action = _whole_number(text), "Set top_n to the maximum number of predictions for each region."
    if value is None:
        raise Problem(400, f"expected a whole number, got {text[:40]!r}. {action}")
    if value < 1:
        raise Problem(422, f"expected at least 1, got {value}. {action}")
    return value


def _boolean(text: str) -> bool:
    value = text.lower()
    if value not in TRUE + FALSE:
        allowed = "1, true, on, yes, 0, false, off or no"
        raise Problem(400, f"expected {allowed}, got {text[:40]!r}. Send one of these values.")
    return value in TRUE


def _whole_number(text: str) -> int | None:
    """Parse a whole number: ASCII digits after an optional sign. Return None for any other text."""
    digits = text.removeprefix("-").removeprefix("+") if text[:2] not in ("-+", "+-") else ""
    if not (digits.isascii() and digits.isdigit()):
        return None
    value = int(digits[-MAX_DIGITS:]) if len(digits.lstrip("0")) <= MAX_DIGITS else 10**MAX_DIGITS
    return -value if text.startswith("-") else value
