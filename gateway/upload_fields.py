"""The form of an upload, checked before anything is queued: its fields, its size, its image's header."""

from collections.abc import Callable
from typing import TypeVar

from gateway.error_responses import Problem
from gateway.upload_form import EXAMPLE, Form
from shared.image_header import ImageError, open_image
from shared.job import Options, Region
from shared.settings import Settings

T = TypeVar("T")

TRUE, FALSE = ("1", "true", "on", "yes"), ("", "0", "false", "off", "no")
MAX_DIGITS = 9
"""Of any number in a form; more would only say "too large" more slowly."""

_IMAGE_STATUS = {"unsupported": 415, "damaged": 422, "too-large": 413}


class FieldError(ValueError):
    """A form field that is wrong: 400 where it can't be understood, 422 where it can't be done."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def read_upload(form: Form, settings: Settings) -> tuple[bytes, Options]:
    """Return the image's bytes and what is asked of it.

    Raises:
        Problem: the form, the image's header, or a field is wrong; every wrong field is named.
    """
    files = _files(form)
    if len(files) > 1:
        raise _wrong("blob", 400, f"{len(files)} files were sent, and one is classified a request")
    (image,) = files
    return image, _options(form, settings, _upright_size(image, settings, "blob"))


def most_images(settings: Settings) -> int:
    """The most images of one form: more than the queue holds would be refused as often as they are sent."""
    return min(settings.max_jobs_per_request, settings.bulk_queue_size)


def read_uploads(form: Form, settings: Settings) -> tuple[list[bytes], Options]:
    """The same for a form with several images, for which the other fields are the same.

    Raises:
        Problem: as `read_upload`; where there are several images, the one at fault is named by its number.
    """
    most = most_images(settings)
    images = _files(form)
    if len(images) > most:
        raise _wrong("blob", 413, f"{len(images)} images were sent, and at most {most} are taken a request")
    names = ["blob"] if len(images) == 1 else [f"blob {number}" for number in range(1, len(images) + 1)]
    if sum(map(len, images)) > settings.max_queue_bytes:
        raise _wrong("blob", 413, f"they have more than the {settings.max_queue_bytes} bytes that may wait")
    sizes = [_upright_size(image, settings, name) for image, name in zip(images, names, strict=True)]
    smallest = (min(width for width, _ in sizes), min(height for _, height in sizes))
    return images, _options(form, settings, smallest)


def _options(form: Form, settings: Settings, size: tuple[int, int]) -> Options:
    wrong: dict[str, FieldError] = {}

    def field(name: str, default: T, parse: Callable[[str], T]) -> T:
        sent = form.fields.get(name)
        if not sent:
            return default
        try:
            if len(sent) > 1:
                raise FieldError(400, f"it was sent {len(sent)} times, and is taken once")
            return parse(sent[0].strip())
        except FieldError as error:
            wrong[name] = error
            return default

    regions = field("regions", None, lambda text: _regions(text, size, settings))
    top_n = field("top_n", 5, _top_n)
    consolidate = field("consolidate", False, _flag)
    if wrong:
        status = min(error.status for error in wrong.values())
        fields = {name: str(error) for name, error in wrong.items()}
        raise Problem(status, "; ".join(f"{name}: {text}" for name, text in fields.items()), fields=fields)
    return Options(regions, top_n, consolidate)


def _files(form: Form) -> list[bytes]:
    files = form.files.get("blob")
    if not files:
        raise _no_blob(form)
    return files


def _check_length(data: bytes, settings: Settings, name: str) -> None:
    if not data:
        raise _wrong(name, 400, f"the file is empty; {EXAMPLE}")
    if len(data) > settings.max_upload_bytes:
        detail = f"the image is larger than the {settings.max_upload_bytes} bytes allowed; send it smaller"
        raise _wrong(name, 413, detail)


def _upright_size(image: bytes, settings: Settings, name: str) -> tuple[int, int]:
    _check_length(image, settings, name)
    try:
        opened = open_image(image, settings.max_image_pixels)
    except ImageError as error:
        raise _wrong(name, _IMAGE_STATUS[error.kind], str(error)) from None
    return opened.width, opened.height


def _no_blob(form: Form) -> Problem:
    if "blob" in form.fields:
        detail = "it is text, not a file: with curl, put an @ before the file's name (blob=@photo.jpg)"
        return _wrong("blob", 400, detail)
    others = ", ".join(sorted({*form.files, *form.fields})[:5])
    found = f"the form has only: {others[:200]}" if others else "the form is empty or broken"
    return _wrong("blob", 400, f"the image is missing; {found}; {EXAMPLE}")


def _wrong(field: str, status: int, detail: str) -> Problem:
    return Problem(status, f"{field}: {detail}", fields={field: detail})


def _regions(text: str, size: tuple[int, int], settings: Settings) -> tuple[Region, ...] | None:
    """Parse `x,y,side;x,y,side`; None for the whole image."""
    parts = [part.strip() for part in text.removesuffix(";").split(";")] if text else []
    if len(parts) > settings.max_regions:
        raise FieldError(
            422, f"there are {len(parts)} regions, and at most {settings.max_regions} are classified"
        )
    regions = [_region(part, number, settings.region_order) for number, part in enumerate(parts, 1)]
    for number, region in enumerate(regions, 1):
        _check_region(region, number, size)
    return tuple(regions) or None


def _region(part: str, number: int, order: str) -> Region:
    form = "x,y,side" if order == "xy" else "y,x,side"
    numbers = [_whole(word.strip()) for word in part.split(",")]
    if len(numbers) != 3 or None in numbers:
        rule = f"a region is three whole numbers {form}, and ; stands between regions"
        raise FieldError(400, f"region {number} is {part[:40]!r}; {rule}")
    first, second, side = (value or 0 for value in numbers)
    return Region(first, second, side) if order == "xy" else Region(second, first, side)


def _check_region(region: Region, number: int, size: tuple[int, int]) -> None:
    width, height = size
    what = f"region {number} (x={region.x}, y={region.y}, side={region.side})"
    if region.side < 1:
        raise FieldError(422, f"{what} has no size; its side must be at least 1")
    if region.x < 0 or region.y < 0 or region.x + region.side > width or region.y + region.side > height:
        raise FieldError(422, f"{what} reaches outside the image of {width}×{height} pixels")


def _top_n(text: str) -> int:
    value = _whole(text)
    if value is None:
        raise FieldError(
            400, f"{text[:40]!r} is not a whole number; it is how many answers a region gets at most"
        )
    if value < 1:
        raise FieldError(422, f"it is {value}, and must be at least 1")
    return value


def _flag(text: str) -> bool:
    word = text.lower()
    if word not in TRUE + FALSE:
        raise FieldError(400, f"{text[:40]!r} is neither yes (1, true, on) nor no (0, false, off)")
    return word in TRUE


def _whole(text: str) -> int | None:
    """A whole number in plain ASCII digits, or None; one with too many digits counts as the largest."""
    digits = text.removeprefix("-").removeprefix("+") if text[:2] not in ("-+", "+-") else ""
    if not (digits.isascii() and digits.isdigit()):
        return None
    value = int(digits[-MAX_DIGITS:]) if len(digits.lstrip("0")) <= MAX_DIGITS else 10**MAX_DIGITS
    return -value if text.startswith("-") else value
