"""POST /classify: an image in, its classes out, in one request."""

import time
from typing import Any
from uuid import uuid4

from flask import Blueprint, Response, g, jsonify, request

from gateway.errors import RETRY_SECONDS, Problem
from gateway.resources import resources
from gateway.uploads import read_upload
from shared.job import Options
from shared.queue import NewJob, Reply

bp = Blueprint("classify", __name__)


@bp.post("/classify")
def classify() -> Response:
    """Answer as the original does: a list with an object a region, or with `consolidate` a list of pairs."""
    shared = resources()
    if shared.served() is None:
        raise Problem(503, "no worker with a model is ready; send it again soon", retry_after=RETRY_SECONDS)
    image, options = read_upload(request, shared.settings)
    job_id = uuid4().hex
    reply = _run(job_id, image, options)
    if reply.failure is not None:
        raise reply.failure
    result = reply.result or {}
    response = jsonify(_original_form(result))
    response.headers["X-Job-Id"] = job_id
    response.headers["X-Model"] = result.get("model", "")
    response.headers["Server-Timing"] = _timing(reply)
    return response


def _run(job_id: str, image: bytes, options: Options) -> Reply:
    shared, timeout = resources(), resources().settings.request_timeout
    with shared.listener.expect(job_id) as waiter:
        job = NewJob(job_id, image, options, g.request_id, shared.listener.reply_to)
        shared.queue.submit([job], timeout=timeout)
        if not waiter.wait(timeout):
            raise Problem(504, f"there was no answer within {timeout:g} s; send it again later")
        if waiter.lost:
            raise Problem(503, "the queue's server lost the job; send it again", retry_after=1)
        return waiter.replies[job_id]


def _original_form(result: dict[str, Any]) -> list[Any]:
    """The original's body, from the richer result of a job."""
    if "consolidated" in result:
        return list(result["consolidated"])
    return [{each["class"]: each["score"] for each in region["predictions"]} for region in result["regions"]]


def _timing(reply: Reply) -> str:
    """Where the time went, in the form that browsers show: milliseconds."""
    total = round((time.monotonic() - g.started) * 1000, 2)
    return ", ".join(f"{stage};dur={ms}" for stage, ms in {**reply.timing, "total": total}.items())
