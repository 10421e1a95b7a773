"""A contact sheet: one page with all photos, their answers and whether they passed; no other host."""

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
from cli.classify.summary import Summary, in_words

MAX_EMBEDDED = 500
"""With more photos, their thumbnails are in a folder beside the page, which would be too large to open."""

THUMBNAIL_PIXELS = 320
MAX_PIXELS = 2**28
"""Larger images have no thumbnail."""

AT_ONCE = 64

TEMPLATE = Path(__file__).with_name("contact_sheet.html")

Record = dict[str, Any]


def files_folder(page: Path) -> Path:
    """Where the thumbnails of a large page are."""
    return page.with_name(f"{page.stem}_files")


def write(
    page: Path, folder: Path, records: Iterable[Record], summary: Summary, advance: Callable[[int], None]
) -> None:
    """Write the page; `summary` has counted the records.

    Raises:
        OSError: it can't be written.
    """
    beside = files_folder(page) if summary.photos > MAX_EMBEDDED else None
    if beside:
        beside.mkdir(exist_ok=True)
    unfinished = page.with_name(f"{page.name}.unfinished")
    head, tail = _template(folder, summary)
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(head)
        for number, (record, picture) in enumerate(_pictured(folder, records)):
            file.write(_card(record, _source(picture, beside, number), _link(page, folder, record), picture))
            advance(1)
        file.write(tail)
    unfinished.replace(page)


class Picture:
    """A photo's thumbnail and the size of the upright photo; empty if there is none."""

    def __init__(self, jpeg: bytes = b"", width: int = 1, height: int = 1) -> None:
        self.jpeg, self.width, self.height = jpeg, width, height


def picture(path: Path) -> Picture:
    """Draw a photo small."""
    from PIL import Image, ImageOps

    from shared.image_header import open_image

    try:
        opened = open_image(path.read_bytes(), MAX_PIXELS)
        image = opened.image
        image.draft("RGB", (2 * THUMBNAIL_PIXELS, 2 * THUMBNAIL_PIXELS))
        image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.BILINEAR)
        small = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError):  # gone since, or damaged: the answer stands all the same
        return Picture()
    file = io.BytesIO()
    small.save(file, "JPEG", quality=75)
    return Picture(file.getvalue(), opened.width, opened.height)


def _pictured(folder: Path, records: Iterable[Record]) -> Iterator[tuple[Record, Picture]]:
    """The records with their pictures, drawn on all cores, a bounded number ahead."""
    records = iter(records)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        while some := list(itertools.islice(records, AT_ONCE)):
            pictures = threads.map(
                lambda record: Picture() if "error" in record else picture(folder / record["file"]), some
            )
            yield from zip(some, pictures, strict=True)


def _source(picture: Picture, beside: Path | None, number: int) -> str:
    if not picture.jpeg:
        return ""
    if beside is None:
        return f"data:image/jpeg;base64,{base64.b64encode(picture.jpeg).decode()}"
    name = f"{number:06}.jpg"
    (beside / name).write_bytes(picture.jpeg)
    return f"{quote(os.fsencode(beside.name))}/{name}"


def _link(page: Path, folder: Path, record: Record) -> str:
    return quote(os.fsencode(os.path.relpath(folder / record["file"], page.absolute().parent)))


def _card(record: Record, source: str, link: str, picture: Picture) -> str:
    name = escape(printable(record["file"]))
    regions = [] if "error" in record else record["result"]["regions"]
    bests = [region["predictions"][0] for region in regions]
    state = "failed" if not bests else "passed" if all(each["accepted"] for each in bests) else "below"
    score = max((each["score"] for each in bests), default=-1)
    classes = escape("\n".join(each["class"] for each in bests)).replace("\n", "&#10;")
    shown = (
        f'<img src="{source}" alt="" loading="lazy">' if source else '<span class="none">no picture</span>'
    )
    answers = "".join(map(_answer, regions)) or f'<p class="why">{escape(record["error"]["detail"])}</p>'
    return (
        f'<article class="{state}" data-state="{state}" data-score="{score}" data-classes="{classes}">'
        f'<a class="photo" href="{link}" aria-label="{name}">{shown}{_squares(regions, picture)}</a>'
        f'<h2 title="{name}">{name}</h2>{answers}</article>\n'
    )


def _answer(region: Record) -> str:
    best, *others = region["predictions"]
    passed, score, threshold = best["accepted"], best["score"], best["threshold"]
    mark = '<b class="yes">✓ passed</b>' if passed else '<b class="no">✗ below threshold</b>'
    tick = "" if threshold is None else f'<i style="left:{100 * threshold:.2f}%"></i>'
    told = f"threshold {threshold:.3g}" if threshold is not None else "no threshold"
    more = "".join(f"<li>{escape(each['class'])} <data>{_told(each['score'])}</data></li>" for each in others)
    return (
        f'<div class="answer"><p>{escape(best["class"])} <data>{_told(score)}</data></p>'
        f'<div class="bar" title="score {score:.6f}, {told}">'
        f'<span style="width:{100 * score:.2f}%"></span>{tick}</div>'
        f"<small>{mark}</small>{f'<ul>{more}</ul>' if more else ''}</div>"
    )


def _told(score: float) -> str:
    return escape(in_words(score))


def _squares(regions: list[Record], picture: Picture) -> str:
    """The regions, drawn over the thumbnail in the photo's own pixels."""
    drawn = "".join(
        '<rect x="{}" y="{}" width="{}" height="{}"/>'.format(*region["region"], region["region"][2])
        for region in regions
        if region["region"]
    )
    return (
        f'<svg viewBox="0 0 {picture.width} {picture.height}" aria-hidden="true">{drawn}</svg>'
        if drawn
        else ""
    )


def _template(folder: Path, summary: Summary) -> tuple[str, str]:
    """What comes before the photos and after them."""
    text = TEMPLATE.read_text(encoding="utf-8")
    script = re.search("<script>(.*?)</script>", text, re.S)
    assert script is not None  # noqa: S101 (it is in our own file)
    # The page's own script alone may run, whatever a file's name should be made to smuggle in.
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    options = "".join(f"<option>{escape(name)}</option>" for name in sorted(summary.classes))
    filled = {
        "title": escape(printable(folder.resolve().name)),
        "script": f"sha256-{digest}",
        "classes": options,
        "counts": summary.in_words(),
    }
    head, tail = text.split("<!-- photos -->")
    head, tail = (re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], part) for part in (head, tail))
    return head, tail
