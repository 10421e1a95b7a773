"""A line with the Content-Type, then the body: the result is a form or an error for the caller."""

import contextlib
from asyncio import Runner

from werkzeug.exceptions import HTTPException

from gateway.problem import Problem
from gateway.request import Request
from gateway.upload.fields import read_uploads
from gateway.upload.form import read_form
from gateway.upload.sizes import max_images
from shared.settings import Settings
from tests.bad_input import encoded

RUNNER = Runner()
SETTINGS = Settings(max_upload_bytes=2048, max_jobs_per_request=4, max_image_pixels=1_000_000)


def form_of(*parts: tuple[str, bytes]) -> bytes:
    body = b"multipart/form-data; boundary=x\n"
    for header, data in parts:
        body += f"--x\r\nContent-Disposition: form-data; {header}\r\n\r\n".encode() + data + b"\r\n"
    return body + b"--x--\r\n"


SEEDS = [
    form_of(('name="blob"; filename="a.jpg"', encoded((8, 8)))),
    form_of(('name="blob"; filename="a.png"', encoded((4, 4), "PNG")), ('name="top_n"', b"3")),
    form_of(("name=\"blob\"; filename*=UTF-8''%e2%82%ac.jpg", b"x"), ('name="regions"', b"0,0,4;1,1,2")),
    form_of(
        ('name="blob"; filename="a"\r\nContent-Type: image/jpeg\r\nX: y', b""), ('name="consolidate"', b"on")
    ),
    b'multipart/form-data; boundary="a b"; charset=utf-16\n--a b\r\n\r\n\r\n--a b--',
    b"application/x-www-form-urlencoded\nblob=1&top_n=2",
    b"multipart/form-data\n",
]
WORDS = [
    b"--x",
    b"\r\n",
    b"multipart/form-data; boundary=",
    b'name="blob"',
    b"filename*=UTF-8''",
    b"charset=utf-7",
]


def run(data: bytes) -> None:
    kind, _, body = data.partition(b"\n")
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    chunks = [body[:100], body[100:]]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    request = Request({"method": "POST", "path": "/jobs", "headers": headers}, receive)
    with contextlib.suppress(Problem, HTTPException):
        form = RUNNER.run(read_form(request, SETTINGS, max_images(SETTINGS)))
        images, options = read_uploads(form, SETTINGS)
        assert 1 <= len(images) <= 4 and all(0 < len(each) <= 2048 for each in images)
        assert options.top_n >= 1
