"""POST /classify: an image in, its classes out, in one request."""

import time
from typing import Any

from flask import Blueprint, Response, jsonify

from gateway.error_responses import RETRY_SECONDS, Problem
from gateway.new_jobs import accepted, cache_status, new_job
from gateway.request import current_request
from gateway.resources import Resources, resources
from gateway.upload_fields import read_upload
from gateway.upload_form import read_form
from shared.job import Options
from shared.queue.messages import Reply

bp = Blueprint("classify", __name__)


@bp.post("/classify")
def classify() -> Response:
    """Answer as the original does: a list with an object a region, or with `consolidate` a list of pairs.

    With `Prefer: wait=N`, an answer that takes longer than N seconds is a job to ask for.
    """
    shared = resources()
    if shared.served() is None:
        raise Problem(503, "no worker with a model is ready; send it again soon", retry_after=RETRY_SECONDS)
    patience = _preferred_wait()
    image, options = read_upload(read_form(current_request(), shared.settings, 1), shared.settings)
    return _run(shared, image, options, patience)


def _run(shared: Resources, image: bytes, options: Options, patience: float | None) -> Response:
    """The answer; after `patience` seconds, or none, the job's address."""
    timeout = shared.settings.request_timeout
    job = new_job(shared, image, options, reply_to=shared.listener.reply_to)
    with shared.listener.expect(job.id) as waiter:
        if patience is None:
            shared.submitter.submit(job, timeout, waiter)
        else:  # it has no deadline: its caller comes back for the answer
            waiter.queued(shared.queue.submit([job]).cache[0])
        answered = waiter.wait(timeout if patience is None else min(patience, timeout))
        if waiter.refusal is not None:
            raise waiter.refusal
        if waiter.lost:
            raise Problem(503, "the queue's server lost the job; send it again", retry_after=1)
    if answered:
        response = _answer(waiter.replies[job.id], waiter.cache)
    elif patience is None:
        raise Problem(504, f"there was no answer within {timeout:g} s; send it again later")
    else:
        response = accepted([job.id], ["queued"])
        response.headers["Preference-Applied"] = f"wait={patience:g}"
    response.headers["X-Job-Id"] = job.id
    return response


def _answer(reply: Reply, cache: str) -> Response:
    if reply.failure is not None:
        raise reply.failure
    result = reply.result or {}
    response = jsonify(_original_form(result))
    response.headers["X-Model"] = result.get("model", "")
    response.headers["Server-Timing"] = _timing(reply)
    if cache:
        response.headers["Cache-Status"] = cache_status(cache)
    return response


def _preferred_wait() -> float | None:
    """Seconds of `Prefer: wait=N`, 0 for `respond-async`; None where neither is said (RFC 7240)."""
    told = current_request().headers.get("Prefer", "")  # gunicorn joins several with commas
    for each in told.replace(";", ",").split(","):
        name, _, value = each.strip().lower().partition("=")
        if name == "respond-async":
            return 0.0
        if name == "wait" and value.strip().isdecimal():
            return float(value)
    return None


def _original_form(result: dict[str, Any]) -> list[Any]:
    """The original's body, from the richer result of a job."""
    if "consolidated" in result:
        return list(result["consolidated"])
    return [{each["class"]: each["score"] for each in region["predictions"]} for region in result["regions"]]


def _timing(reply: Reply) -> str:
    """Where the time went, in the form that browsers show: milliseconds."""
    total = round((time.monotonic() - current_request().started) * 1000, 2)
    return ", ".join(f"{stage};dur={ms}" for stage, ms in {**reply.timing, "total": total}.items())
