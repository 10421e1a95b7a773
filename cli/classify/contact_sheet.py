"""Writes a contact sheet: an HTML page with all photos and their answers.

The page loads nothing from other hosts.
"""

import base64
import hashlib
import io
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cli.classify.answer_tables import printable
from cli.classify.summary import Summary, format_score
from shared.cores import available_cores

MAX_EMBEDDED = 500
"""Maximum number of thumbnails that are embedded in the HTML page.

If a page has more photos, all thumbnails are files in a folder next to the page.
"""

THUMBNAIL_PIXELS = 320
MAX_PIXELS = 2**28
"""Maximum number of pixels of a photo. A larger photo gets no thumbnail."""

PHOTOS_AT_ONCE = 64

TEMPLATE = Path(__file__).with_name("contact_sheet.html")

Record = dict[str, Any]


def thumbnail_folder(page: Path) -> Path:
    """Return the path of the folder for thumbnails that are not embedded in the page."""
    return page.with_name(f"{page.stem}_files")


def write(
    page: Path, folder: Path, records: Iterable[Record], summary: Summary, advance: Callable[[int], None]
) -> None:
    """Write the contact sheet of a folder from the photos' results and errors.

    `summary` contains the counts of photos and answers.

    Raises:
        OSError: the page or a thumbnail cannot be written.
    """
    thumbnails = thumbnail_folder(page) if summary.photos > MAX_EMBEDDED else None
    if thumbnails:
        thumbnails.mkdir(exist_ok=True)
    unfinished = page.with_name(f"{page.name}.unfinished")
    head, tail = _template(folder, summary)
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(head)
        for number, (record, thumbnail) in enumerate(_with_thumbnails(folder, records)):
            source = _source(thumbnail, thumbnails, number)
            file.write(_card(record, source, _link(page, folder, record), thumbnail))
            advance(1)
        file.write(tail)
    unfinished.replace(page)


class Thumbnail:
    """A photo's thumbnail as JPEG, and the photo's width and height in pixels when it is upright.

    If there is no thumbnail, the JPEG is empty.
    """

    def __init__(self, jpeg: bytes = b"", width: int = 1, height: int = 1) -> None:
        self.jpeg, self.width, self.height = jpeg, width, height


def make_thumbnail(path: Path) -> Thumbnail:
    """Draw the thumbnail of a photo."""
    from PIL import Image, ImageOps

    from shared.image_header import open_image

    try:
        opened = open_image(path.read_bytes(), MAX_PIXELS)
        image = opened.image
        image.draft("RGB", (2 * THUMBNAIL_PIXELS, 2 * THUMBNAIL_PIXELS))
        image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.BILINEAR)
        small = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError):  # The file was removed or damaged after it was classified.
        return Thumbnail()
    file = io.BytesIO()
    small.save(file, "JPEG", quality=75)
    return Thumbnail(file.getvalue(), opened.width, opened.height)


def _with_thumbnails(folder: Path, records: Iterable[Record]) -> Iterator[tuple[Record, Thumbnail]]:
    """Yield each photo's result or error, with the photo's thumbnail.

    All CPU cores draw thumbnails, in groups of `PHOTOS_AT_ONCE` photos.
    """

    def draw(record: Record) -> Thumbnail:
        return Thumbnail() if "error" in record else make_thumbnail(folder / record["file"])

    records = iter(records)
    with ThreadPoolExecutor(available_cores()) as threads:
        while some := list(itertools.islice(records, PHOTOS_AT_ONCE)):
            yield from zip(some, threads.map(draw, some), strict=True)


def _source(thumbnail: Thumbnail, folder: Path | None, number: int) -> str:
    """Return the URL of a thumbnail.

    If `folder` is None, this is a data URL. Otherwise the function writes the thumbnail to `folder`.
    """
    if not thumbnail.jpeg:
        return ""
    if folder is None:
        return f"data:image/jpeg;base64,{base64.b64encode(thumbnail.jpeg).decode()}"
    name = f"{number:06}.jpg"
    (folder / name).write_bytes(thumbnail.jpeg)
    return f"{quote(os.fsencode(folder.name))}/{name}"


def _link(page: Path, folder: Path, record: Record) -> str:
    return quote(os.fsencode(os.path.relpath(folder / record["file"], page.absolute().parent)))


def _card(record: Record, source: str, link: str, thumbnail: Thumbnail) -> str:
    name = escape(printable(record["file"]))
    if "error" in record:
        regions, answers = [], f'<p class="why">{escape(record["error"]["detail"])}</p>'
    else:
        regions = record["result"]["regions"]
        answers = "".join(map(_answer, regions))
    image = (
        f'<img src="{source}" alt="" loading="lazy">' if source else '<span class="none">no picture</span>'
    )
    return (
        f"<article {_data(regions)}>"
        f'<a class="photo" href="{link}" aria-label="{name}">{image}{_squares(regions, thumbnail)}</a>'
        f'<h2 title="{name}">{name}</h2>{answers}</article>\n'
    )


def _data(regions: list[Record]) -> str:
    """Return the HTML attributes by which the page's script sorts and filters the photos."""
    best = [region["predictions"][0] for region in regions]
    state = "failed"
    if best:
        state = "accepted" if all(each["accepted"] for each in best) else "not-accepted"
    score = max((each["score"] for each in best), default=-1)
    classes = escape("\n".join(each["class"] for each in best)).replace("\n", "&#10;")
    return f'class="{state}" data-state="{state}" data-score="{score}" data-classes="{classes}"'


def _answer(region: Record) -> str:
    best, *others = region["predictions"]
    score, threshold = best["score"], best["threshold"]
    mark = '<b class="yes">✓ accepted</b>' if best["accepted"] else '<b class="no">✗ not accepted</b>'
    tick = "" if threshold is None else f'<i style="left:{100 * threshold:.2f}%"></i>'
    limit = "no threshold" if threshold is None else f"threshold {threshold:.3g}"
    more = "".join(f"<li>{_class_and_score(each)}</li>" for each in others)
    return (
        f'<div class="answer"><p>{_class_and_score(best)}</p>'
        f'<div class="bar" title="score {score:.6f}, {limit}">'
        f'<span style="width:{100 * score:.2f}%"></span>{tick}</div>'
        f"<small>{mark}</small>{f'<ul>{more}</ul>' if more else ''}</div>"
    )


def _class_and_score(prediction: Record) -> str:
    return f"{escape(prediction['class'])} <data>{escape(format_score(prediction['score']))}</data>"


def _squares(regions: list[Record], thumbnail: Thumbnail) -> str:
    """Return an SVG that draws the regions over the thumbnail.

    The SVG's coordinates are pixels of the upright photo.
    """
    squares = "".join(
        '<rect x="{}" y="{}" width="{}" height="{}"/>'.format(*region["region"], region["region"][2])
        for region in regions
        if region["region"]
    )
    view = f'viewBox="0 0 {thumbnail.width} {thumbnail.height}"'
    return f'<svg {view} aria-hidden="true">{squares}</svg>' if squares else ""


def _template(folder: Path, summary: Summary) -> tuple[str, str]:
    """Return two pieces of HTML: the start of the page until the photos, and the end after the photos."""
    text = TEMPLATE.read_text(encoding="utf-8")
    script = re.search("<script>(.*?)</script>", text, re.S)
    assert script is not None  # noqa: S101 (the template has one)
    # The browser runs only the script with this digest, so code in a file's name cannot run.
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    values = {
        "title": escape(printable(folder.resolve().name)),
        "script": f"sha256-{digest}",
        "classes": "".join(f"<option>{escape(name)}</option>" for name in sorted(summary.classes)),
        "counts": summary.totals(),
    }
    filled = (
        re.sub(r"\{\{(\w+)\}\}", lambda name: values[name[1]], part) for part in text.split("<!-- photos -->")
    )
    head, tail = filled
    return head, tail
