"""The endpoint POST /classify. A request contains an image, and the response contains the image's classes."""

import time
from typing import Any

from flask import Blueprint, Response, jsonify

from gateway.jobs_routes import MAX_WAIT_SECONDS
from gateway.new_jobs import accepted, cache_status, new_job
from gateway.problem import Problem, no_worker
from gateway.request import current_request
from gateway.resources import Resources, resources
from gateway.upload_fields import read_upload
from gateway.upload_form import read_form
from shared.job import Options
from shared.queue.messages import Reply

bp = Blueprint("classify", __name__)


@bp.post("/classify")
def classify() -> Response:
    """Return a list with one object for each region. Each object maps the region's classes to their scores.

    If the form field `consolidate` is true, return a list of pairs of species and score. A caller may send
    the header `Prefer: wait=N`. If the header is set and there is no answer after N seconds, return a job's
    URL.
    """
    shared = resources()
    if shared.served() is None:
        raise no_worker()
    max_wait = _preferred_wait()
    image, options = read_upload(read_form(current_request(), shared.settings, 1), shared.settings)
    return _run(shared, image, options, max_wait)


def _run(shared: Resources, image: bytes, options: Options, max_wait: float | None) -> Response:
    """Return the answer, or the job's URL if there is no answer after `max_wait` seconds.

    If `max_wait` is None, wait for at most REQUEST_TIMEOUT seconds. If there is no answer within
    REQUEST_TIMEOUT seconds, fail with HTTP status 504.
    """
    timeout = shared.settings.request_timeout
    job = new_job(shared, image, options, reply_to=shared.listener.reply_to)
    with shared.listener.expect(job.id) as pending:
        if max_wait is None:
            shared.submitter.submit(job, timeout, pending)
        else:  # the job has no deadline, because its caller may fetch the answer later
            pending.mark_queued(shared.queue.submit([job]).cache[0])
        is_done = pending.wait(timeout if max_wait is None else min(max_wait, timeout))
        if pending.error is not None:
            raise pending.error
        if pending.lost:
            raise Problem(503, "The Redis server lost the job. Send the request again.", retry_after=1)
    if is_done:
        response = _answer(pending.replies[job.id], pending.cache_outcome)
    elif max_wait is None:
        raise Problem(504, f"The worker did not answer within {timeout:g} s. Send the request again later.")
    else:
        response = accepted([job.id], ["queued"])
        response.headers["Preference-Applied"] = f"wait={max_wait:g}"
    response.headers["X-Job-Id"] = job.id
    return response


def _answer(reply: Reply, cache_outcome: str) -> Response:
    if reply.failure is not None:
        raise reply.failure
    result = reply.result or {}
    response = jsonify(_original_form(result))
    response.headers["X-Model"] = result.get("model", "")
    response.headers["Server-Timing"] = _timing(reply)
    if cache_outcome:
        response.headers["Cache-Status"] = cache_status(cache_outcome)
    return response


def _preferred_wait() -> float | None:
    """Return the maximum number of seconds that the caller wants to wait for the answer.

    In the header `Prefer` (RFC 7240), `wait=N` means N seconds, but at most `MAX_WAIT_SECONDS`, and
    `respond-async` means 0. Return None if the header contains neither `wait=N` nor `respond-async`.
    """
    # gunicorn joins repeated headers into one header, with commas
    header = current_request().headers.get("Prefer", "")
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


def _timing(reply: Reply) -> str:
    """Return the header `Server-Timing`: the milliseconds that each stage and the whole request took."""
    total = round((time.monotonic() - current_request().started) * 1000, 2)
    return ", ".join(f"{stage};dur={ms}" for stage, ms in {**reply.timing, "total": total}.items())
