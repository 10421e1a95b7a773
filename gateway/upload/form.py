"""Parses multipart forms with the library `multipart`, which is five times as fast as Werkzeug's parser."""

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from multipart import MultipartSegment, ParserLimitReached, PushMultipartParser
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.utils import get_content_length

from gateway.problem import Problem
from gateway.request import Request
from gateway.upload.sizes import (
    MAX_OTHER_BYTES,
    MAX_OTHER_PARTS,
    body_too_large,
    max_body_bytes,
    too_many_parts,
)
from gateway.upload.slow_upload import UploadStream
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


async def read_form(request: Request, settings: Settings, max_images: int) -> Form:
    """Parse the request's body as a multipart form with at most `max_images` images.

    Raises:
        Problem: the request's body is malformed, too large, or not a multipart form.
        RequestTimeout: the request's body arrives too slowly.
    """
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    if kind.lower() != "multipart/form-data":
        raise Problem(415, f"Content-Type: expected multipart/form-data, got {kind or 'none'}. {EXAMPLE}")
    max_parts, max_bytes = max_images + MAX_OTHER_PARTS, max_body_bytes(settings, max_images)
    try:
        if not (boundary := parameters.get("boundary")):
            raise ValueError("its Content-Type has no boundary")
        if (length := _length(request)) > max_bytes:
            raise RequestEntityTooLarge
        with PushMultipartParser(boundary, length, max_segment_count=max_parts) as parser:
            stream = UploadStream(request.receive, max_bytes)
            return await _collect(parser.parse_async(stream.read))
    except RequestEntityTooLarge:
        raise body_too_large(settings) from None
    except ParserLimitReached:
        raise too_many_parts(max_parts) from None
    except ValueError as error:
        raise Problem(400, f"The multipart form is malformed: {error}. {EXAMPLE}") from None


def _length(request: Request) -> int:
    """Return the size of the request's body in bytes, or -1 if the request does not declare the size."""
    headers = request.headers
    length = get_content_length(headers.get("content-length"), headers.get("transfer-encoding"))
    return -1 if length is None else length


async def _collect(events: AsyncIterator[Any]) -> Form:
    form, text_bytes = Form(), 0
    part: Any = None
    data: list[bytes] = []
    async for event in events:
        if isinstance(event, MultipartSegment):
            part, data = event, []
        elif event is not None:
            data.append(event)
        elif part.filename is not None:
            form.files[part.name].append(b"".join(data))
        else:
            text_bytes += sum(map(len, data))
            if text_bytes > MAX_OTHER_BYTES:
                raise ParserLimitReached
            form.fields[part.name].append(_text(part, b"".join(data)))
    return form


def _text(part: MultipartSegment, data: bytes) -> str:
    charset = part.charset or "utf-8"
    # Python decodes some charsets slowly: a text field of the maximum size in punycode would need a second.
    if charset.lower() not in CHARSETS:
        raise ValueError(f"a field has the charset {charset[:40]!r} instead of UTF-8")
    return data.decode(charset)
