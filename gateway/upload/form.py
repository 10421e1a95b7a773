"""Parses multipart forms with the library `multipart`, which is five times as fast as Werkzeug's parser."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flask import Request
from multipart import MultipartSegment, ParserLimitReached, PushMultipartParser
from werkzeug.exceptions import RequestEntityTooLarge

from gateway.problem import Problem
from gateway.upload.sizes import (
    MAX_OTHER_BYTES,
    MAX_OTHER_PARTS,
    body_too_large,
    max_body_bytes,
    too_many_parts,
)
from gateway.upload.slow_upload import MAX_CHUNK_BYTES, UploadStream
from shared.settings import Settings

CHARSETS = frozenset({"ascii", "us-ascii", "utf-8", "utf8", "iso-8859-1"})
"""The charsets that a form's part may declare. Werkzeug's form parser accepts the same charsets."""

EXAMPLE = "Send a form, for example: curl -F blob=@photo.jpg"


@dataclass(frozen=True)
class Form:
    """A form's files and text fields, by name.

    Each name maps to a list of all values with this name. The values are in the order of the form.
    """

    files: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    fields: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def read_form(request: Request, settings: Settings, max_images: int) -> Form:
    """Parse the request's body as a multipart form with at most `max_images` images.

    Raises:
        Problem: the request's body is malformed, too large, or not a multipart form.
        RequestTimeout: the request's body arrives too slowly.
    """
    if request.mimetype != "multipart/form-data":
        detail = f"expected multipart/form-data, got {request.mimetype or 'none'}"
        raise Problem(415, f"Content-Type: {detail}. {EXAMPLE}")
    max_parts = max_images + MAX_OTHER_PARTS
    try:
        return _collect(_parts(request, max_body_bytes(settings, max_images), max_parts))
    except RequestEntityTooLarge:
        raise body_too_large(settings) from None
    except ParserLimitReached:
        raise too_many_parts(max_parts) from None
    except ValueError as error:
        raise Problem(400, f"The multipart form is malformed: {error}. {EXAMPLE}") from None


def _collect(parts: Iterator[tuple[Any, bytes]]) -> Form:
    form, text_bytes = Form(), 0
    for part, data in parts:
        if part.filename is not None:
            form.files[part.name].append(data)
            continue
        text_bytes += len(data)
        if text_bytes > MAX_OTHER_BYTES:
            raise ParserLimitReached
        form.fields[part.name].append(_text(part, data))
    return form


def _parts(request: Request, max_bytes: int, max_parts: int) -> Iterator[tuple[Any, bytes]]:
    """Yield each part of a form (a `MultipartSegment`) with its bytes.

    `max_bytes` is the body's maximum size.
    """
    boundary = request.mimetype_params.get("boundary")
    if not boundary:
        raise ValueError("its Content-Type has no boundary")
    length = request.content_length
    if length is not None and length > max_bytes:
        raise RequestEntityTooLarge
    stream = UploadStream(request.environ["wsgi.input"], max_bytes)
    part: Any = None
    data: list[bytes] = []
    known_length = -1 if length is None else length
    with PushMultipartParser(boundary, known_length, max_segment_count=max_parts) as parser:
        for event in parser.parse_blocking(stream.read, MAX_CHUNK_BYTES):
            if event is None:
                yield part, b"".join(data)
            elif isinstance(event, MultipartSegment):
                part, data = event, []
            else:
                data.append(event)


def _text(part: MultipartSegment, data: bytes) -> str:
    charset = part.charset or "utf-8"
    # Python decodes some charsets slowly: a text field of the maximum size in punycode would need a second.
    if charset.lower() not in CHARSETS:
        raise ValueError(f"a field has the charset {charset[:40]!r} instead of UTF-8")
    return data.decode(charset)
