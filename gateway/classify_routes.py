"""The endpoint POST /classify. A request contains an image, and the response contains the image's classes."""

import time
from typing import Any

from flask import Blueprint

from gateway.inflight import TimedOut
from gateway.jobs_routes import MAX_WAIT_SECONDS
from gateway.new_jobs import accepted, cache_status, new_job
from gateway.problem import Problem, no_worker
from gateway.request import Request
from gateway.resources import Resources
from gateway.response import Response, json_response
from gateway.route_policy import route
from gateway.upload.fields import read_upload
from gateway.upload.form import read_form
from shared.queue.messages import Reply

bp = Blueprint("classify", __name__)


@route(bp, "/classify", ["POST"])
async def classify(shared: Resources, request: Request) -> Response:
    """Return a list with one object for each region. Each object maps the region's classes to their scores.

    If the form field `consolidate` is true, return a list of pairs of species and score. A caller may send
    the header `Prefer: wait=N`. If the header is set and there is no answer after N seconds, return a job's
    URL.
    """
    if await shared.served_soon() is None:
        raise no_worker()
    max_wait, timeout = _preferred_wait(request), shared.settings.request_timeout
    wait = timeout if max_wait is None else min(max_wait, timeout)
    image, options = read_upload(await read_form(request, shared.settings, 1), shared.settings)
    job = await new_job(shared, request, image, options, reply_to=shared.inflight.reply_to)
    try:
        # With `Prefer`, the job does not expire, because its caller may fetch the answer later.
        response = _answer(await shared.inflight.run(job, wait, expires=max_wait is None), request)
    except TimedOut:
        if max_wait is None:
            detail = f"The worker did not answer within {timeout:g} s. Send the request again later."
            raise Problem(504, detail) from None
        response = accepted([job.id], ["queued"])
        response.headers["Preference-Applied"] = f"wait={max_wait:g}"
    response.headers["X-Job-Id"] = job.id
    return response


def _answer(reply: Reply, request: Request) -> Response:
    if reply.failure is not None:
        raise reply.failure
    result = reply.result or {}
    headers = {"X-Model": result.get("model", ""), "Server-Timing": _timing(reply, request)}
    if reply.cache:
        headers["Cache-Status"] = cache_status(reply.cache)
    return json_response(_original_form(result), headers=headers)


def _preferred_wait(request: Request) -> float | None:
    """Return the maximum number of seconds that the caller wants to wait for the answer.

    In the header `Prefer` (RFC 7240), `wait=N` means N seconds, but at most `MAX_WAIT_SECONDS`, and
    `respond-async` means 0. Return None if the header contains neither `wait=N` nor `respond-async`.
    """
    header = request.headers.get("prefer", "")
    for preference in header.replace(";", ",").split(","):
        name, _, value = preference.strip().lower().partition("=")
        if name == "respond-async":
            return 0.0
        if name == "wait" and value.strip().isdecimal():
            return min(float(value), MAX_WAIT_SECONDS)
    return None


def _original_form(result: dict[str, Any]) -> list[Any]:
    """Convert a job's result to the JSON format of the server that this project replaces."""
    if "consolidated" in result:
        return list(result["consolidated"])
    return [{each["class"]: each["score"] for each in region["predictions"]} for region in result["regions"]]


def _timing(reply: Reply, request: Request) -> str:
    """Return the header `Server-Timing`: the milliseconds that each stage and the whole request took."""
    total = round((time.monotonic() - request.started) * 1000, 2)
    return ", ".join(f"{stage};dur={ms}" for stage, ms in {**reply.timing, "total": total}.items())
