"""Multipart forms, read by the `multipart` library: a fifth of the time that Werkzeug's own parser takes."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask import Request
from multipart import MultipartSegment, ParserLimitReached, PushMultipartParser
from werkzeug.exceptions import RequestEntityTooLarge

from gateway.error_responses import Problem
from gateway.slow_upload import CHUNK_BYTES, PacedStream
from shared.settings import Settings

FORM_SLACK = 256 * 1024
"""Bytes that a form may take beside its images: regions, boundaries, headers."""

IMAGES_IN_MEMORY = 10
"""Images of the largest size that one request may hold; it may have more that are smaller."""

OTHER_PARTS = 31
"""Parts that a form may have beside its images."""

CHARSETS = frozenset({"ascii", "us-ascii", "utf-8", "utf8", "iso-8859-1"})
"""That a part of a form may say it is in; Werkzeug knows the same."""

EXAMPLE = "send a form such as: curl -F blob=@photo.jpg"


@dataclass(frozen=True)
class Form:
    """The files and the text fields of a form by their names, each with all that came under it, in order."""

    files: dict[str, list[bytes]]
    fields: dict[str, list[str]]


def read_form(request: Request, settings: Settings, most_images: int) -> Form:
    """Read the request's body, a form of so many images at most.

    Raises:
        Problem: it is no form, a broken one, or too large.
        RequestTimeout: it comes too slowly.
    """
    if request.mimetype != "multipart/form-data":
        got = f"not {request.mimetype}" if request.mimetype else "and this request has no Content-Type"
        raise Problem(415, f"{request.path} takes multipart/form-data, {got}; {EXAMPLE}")
    most_bytes = min(most_images, IMAGES_IN_MEMORY) * settings.max_upload_bytes + FORM_SLACK
    most_parts = most_images + OTHER_PARTS
    files, fields, text = defaultdict[str, list[bytes]](list), defaultdict[str, list[str]](list), 0
    try:
        for part, data in _parts(request, most_bytes, most_parts):
            if part.filename is not None:
                files[part.name].append(data)
                continue
            text += len(data)
            if text > FORM_SLACK:
                raise ParserLimitReached
            fields[part.name].append(_text(part, data))
    except RequestEntityTooLarge:
        detail = f"the request is too large; an image may have {settings.max_upload_bytes} bytes"
        raise Problem(413, f"blob: {detail}: send smaller or fewer") from None
    except ParserLimitReached:
        detail = f"a form field is larger than {FORM_SLACK} bytes, or there are more than {most_parts} parts"
        raise Problem(413, detail) from None
    except ValueError as error:
        raise Problem(400, f"the multipart form is broken: {error}; {EXAMPLE}") from None
    return Form(files, fields)


def _parts(request: Request, most_bytes: int, most_parts: int) -> Iterator[tuple[Any, bytes]]:
    """Each part, a `MultipartSegment`, and its bytes, in memory: the request's bound is theirs, too."""
    boundary = request.mimetype_params.get("boundary")
    if not boundary:
        raise ValueError("its Content-Type names no boundary")
    length = request.content_length
    if length is not None and length > most_bytes:
        raise RequestEntityTooLarge
    stream = PacedStream(request.environ["wsgi.input"], most_bytes)
    part: Any = None
    data: list[bytes] = []
    known = -1 if length is None else length
    with PushMultipartParser(boundary, known, max_segment_count=most_parts) as parser:
        for event in parser.parse_blocking(stream.read, CHUNK_BYTES):
            if event is None:
                yield part, b"".join(data)
            elif isinstance(event, MultipartSegment):
                part, data = event, []
            else:
                data.append(event)


def _text(part: MultipartSegment, data: bytes) -> str:
    charset = part.charset or "utf-8"
    # Any codec of Python's would do else: punycode takes a second for what a field may have.
    if charset.lower() not in CHARSETS:
        raise ValueError(f"a field is in the charset {charset[:40]!r}; send it as UTF-8")
    return data.decode(charset)
