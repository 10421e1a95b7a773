"""Our reader of multipart forms against Werkzeug's own."""

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from gateway.forms import FormParser

NAMES = st.text(st.characters(categories=["L", "N"], include_characters=" _-."), min_size=1, max_size=20)
PARTS = st.lists(st.tuples(NAMES, st.none() | NAMES, st.binary(max_size=200)), max_size=6)


def body(parts: list[tuple[str, str | None, bytes]]) -> bytes:
    made = b""
    for name, filename, data in parts:
        file = f'; filename="{filename}"' if filename is not None else ""
        made += (
            f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"
        )
    return made + b"--x--\r\n"


def parse(parser: FormDataParser, data: bytes) -> tuple[list[object], list[object]]:
    _, form, files = parser.parse(io.BytesIO(data), "multipart/form-data", len(data), {"boundary": "x"})
    return list(form.items(multi=True)), [
        (name, file.filename, file.stream.read()) for name, file in files.items(multi=True)
    ]


@given(PARTS)
def test_forms_are_read_as_werkzeug_reads_them(parts: list[tuple[str, str | None, bytes]]) -> None:
    texts = [(name, file, data if file is not None else data.hex().encode()) for name, file, data in parts]
    data = body([(name, file, each.replace(b"--x", b"")) for name, file, each in texts])
    assert parse(FormParser(cls=MultiDict), data) == parse(FormDataParser(cls=MultiDict), data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_form_or_a_value_error(data: bytes) -> None:
    for each in (data, body([("a", "b", data)]), body([("a", None, data)]), b"--x\r\n" + data):
        with contextlib.suppress(ValueError, RequestEntityTooLarge):
            parse(FormParser(max_form_parts=3), each)


@pytest.mark.parametrize(
    ("parts", "limits"),
    [
        ([("a", None, b"1")] * 4, {"max_form_parts": 3}),
        ([("a", None, b"12345")] * 2, {"max_form_memory_size": 9}),
    ],
)
def test_too_much_of_a_form_is_refused(parts: list[tuple[str, None, bytes]], limits: dict[str, int]) -> None:
    parse(FormParser(**limits), body(parts[:-1]))
    with pytest.raises(RequestEntityTooLarge):
        parse(FormParser(**limits), body(parts))


def test_a_form_without_a_boundary_or_an_end_is_broken() -> None:
    with pytest.raises(ValueError, match="boundary"):
        FormParser().parse(io.BytesIO(b""), "multipart/form-data", 0, {})
    with pytest.raises(ValueError, match="end"):
        parse(FormParser(), body([("a", "b", b"1")])[:-6])


def in_charset(charset: str) -> bytes:
    kind = f"\r\nContent-Type: text/plain; charset={charset}\r\n\r\n1"
    return body([("a", None, b"1")]).replace(b"\r\n\r\n1", kind.encode())


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "iso-8859-1", "us-ascii"])
def test_a_field_may_say_its_charset(charset: str) -> None:
    assert parse(FormParser(cls=MultiDict), in_charset(charset))[0] == [("a", "1")]


@pytest.mark.parametrize("charset", ["utf-9", "punycode", "idna", "zlib", "unicode_escape"])
def test_a_charset_that_is_not_known_is_broken(charset: str) -> None:
    with pytest.raises(ValueError, match=f"charset '{charset}'; send it as UTF-8"):
        parse(FormParser(), in_charset(charset))
