"""The reader of multipart forms, compared with Werkzeug's reader."""

import contextlib
import io
from typing import Any

import pytest
import werkzeug
from hypothesis import given
from hypothesis import strategies as st

from gateway.problem import Problem
from gateway.request import Request
from gateway.upload.form import Form, read_form
from gateway.upload.sizes import MAX_OTHER_BYTES, MAX_OTHER_PARTS
from shared.settings import Settings
from tests.background import begin

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


def environ(data: bytes, **more: str) -> dict[str, Any]:
    kind = {"CONTENT_TYPE": "multipart/form-data; boundary=x", "CONTENT_LENGTH": str(len(data))}
    return {"wsgi.input": io.BytesIO(data), **kind, **more}


def read(data: bytes, images: int = 10, **more: str) -> Form:
    """Read a form; a header with an empty value is not sent."""
    scope = {"method": "POST", "path": "/", "headers": []}
    for name, value in environ(data, **more).items():
        if value and name.startswith("CONTENT_"):
            scope["headers"].append((name.lower().replace("_", "-").encode(), value.encode()))
    chunks = [data[start : start + 65_536] for start in range(0, len(data), 65_536)] or [b""]

    async def receive() -> dict[str, Any]:
        chunk = chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    result: Form = begin(read_form, Request(scope, receive), Settings(), images).result(60)
    return result


def parse(data: bytes, images: int = 10) -> Form:
    return read(data, images)


@given(PARTS)
def test_forms_are_read_as_werkzeug_reads_them(parts: list[tuple[str, str | None, bytes]]) -> None:
    texts = [(name, file, data if file is not None else data.hex().encode()) for name, file, data in parts]
    data = body([(name, file, each.replace(b"--x", b"")) for name, file, each in texts])
    form, theirs = parse(data), werkzeug.Request(environ(data))
    assert form.fields == dict(theirs.form.lists())
    assert form.files == {name: [each.read() for each in files] for name, files in theirs.files.lists()}


@given(st.binary(max_size=300))
def test_any_bytes_are_a_form_or_a_problem(data: bytes) -> None:
    for each in (data, body([("a", "b", data)]), body([("a", None, data)]), b"--x\r\n" + data):
        with contextlib.suppress(Problem):
            parse(each)


def refused(data: bytes, images: int = 10, **more: str) -> str:
    """The status and detail with which a form is refused."""
    with pytest.raises(Problem) as problem:
        read(data, images, **more)
    return f"{problem.value.status} {problem.value.detail}"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([("a", None, b"1")] * (10 + MAX_OTHER_PARTS), "41 parts, got a larger form"),
        ([("a", None, bytes(MAX_OTHER_BYTES // 2))] * 2, "at most 262144 bytes of text"),
    ],
)
def test_too_many_or_too_large_fields_are_refused(parts: list[tuple[str, None, bytes]], words: str) -> None:
    parse(body(parts))
    found = refused(body([*parts, ("b", None, b"1")]))
    assert found.startswith("413 ") and words in found


def test_a_body_without_a_length_is_read_up_to_the_maximum() -> None:
    whole = body([("blob", "a", bytes(Settings().max_upload_bytes))])
    assert len(read(whole, 1, CONTENT_LENGTH="").files["blob"][0]) == Settings().max_upload_bytes
    longer = bytes(MAX_OTHER_BYTES) + whole  # bytes before the first boundary belong to no part
    with pytest.raises(Problem, match="20971520 bytes"):
        read(longer, 1, CONTENT_LENGTH="")
    assert "20971520 bytes" in refused(whole[:1000], images=1, CONTENT_LENGTH=str(10**9))


def test_a_form_without_a_boundary_or_an_end_is_malformed() -> None:
    assert "400 The multipart form is malformed: its Content-Type has no boundary" in refused(
        b"", CONTENT_TYPE="multipart/form-data"
    )
    assert "end" in refused(body([("a", "b", b"1")])[:-6])


def in_charset(charset: str) -> bytes:
    kind = f"\r\nContent-Type: text/plain; charset={charset}\r\n\r\n1"
    return body([("a", None, b"1")]).replace(b"\r\n\r\n1", kind.encode())


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "iso-8859-1", "us-ascii"])
def test_a_field_may_state_its_charset(charset: str) -> None:
    assert parse(in_charset(charset)).fields == {"a": ["1"]}


@pytest.mark.parametrize("charset", ["utf-9", "punycode", "idna", "zlib", "unicode_escape"])
def test_an_unknown_charset_is_malformed(charset: str) -> None:
    assert f"charset '{charset}' instead of UTF-8" in refused(in_charset(charset))
