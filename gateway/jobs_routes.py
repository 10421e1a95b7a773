"""The asynchronous endpoints. POST /jobs submits jobs, and DELETE /jobs/<id> cancels a job.

GET /jobs/<id> returns a job, and can wait for the job's end.
"""

import re
from collections.abc import Sequence
from typing import Any

from flask import Blueprint

from gateway.new_jobs import accepted, cache_status, new_job, repeatable, webhook_url
from gateway.problem import Problem, field_problem
from gateway.request import Request
from gateway.resources import Resources
from gateway.response import Response, json_response
from gateway.route_policy import route
from gateway.upload.fields import read_uploads
from gateway.upload.form import read_form
from gateway.upload.sizes import max_images
from shared.queue import BULK
from shared.queue.messages import JobState, KeyReused
from shared.queue.wire import ENDED

bp = Blueprint("jobs", __name__, url_prefix="/jobs")

MAX_IDS = 100
"""Maximum number of job ids in one request `GET /jobs?ids=…`."""

MAX_WAIT_SECONDS = 55.0
"""Maximum time for which a request may wait for a job's end, in seconds. Many proxies wait only 60 s."""

JOB_ID = "[0-9A-Za-z_-]{1,64}"
"""The pattern of a job's id. The ids are short, so that `MAX_IDS` ids fit into one URL."""

_FIELDS = ("id", "status", "position", "estimated_wait", "submitted_at", "started_at", "ended_at", "attempts")


@route(bp, "", ["POST"])
async def submit(shared: Resources, request: Request) -> Response:
    """Queue one job for each image of the form, and return 202 with the jobs' URLs.

    If one job is refused, no job of the form is queued. A caller may send the same form again with the same
    `Idempotency-Key`. The response then lists the jobs of the first submission.
    """
    form = await read_form(request, shared.settings, max_images(shared.settings))
    images, options = read_uploads(form, shared.settings)
    webhook = webhook_url(form, shared.settings)
    jobs = [await new_job(shared, request, image, options, webhook=webhook) for image in images]
    repeat = repeatable(request, images, options, webhook)
    try:
        submitted = await shared.in_thread(shared.queue.submit, jobs, BULK, repeatable=repeat)
    except KeyReused:
        detail = "expected the form that was first sent with this key, got another form. Choose a new key."
        raise Problem(409, f"Idempotency-Key: {detail}") from None
    if not submitted.replayed:
        statuses = ["finished" if cache == "hit" else "queued" for cache in submitted.cache]
        return accepted(submitted.ids, statuses)
    states = await shared.in_thread(shared.queue.states, submitted.ids)
    statuses = [states[each].status if each in states else "unknown" for each in submitted.ids]
    response = accepted(submitted.ids, statuses)
    response.headers["Idempotency-Replayed"] = "true"
    return response


@route(bp, "/<job_id>")
async def poll(shared: Resources, request: Request, job_id: str) -> Response:
    """Return the state of one job. With `?wait=SECONDS`, wait at most SECONDS for the job's end."""
    (state,) = await _states(shared, request, [job_id], positions=True)
    if state is None:
        raise _unknown(job_id, shared)
    headers = {"Cache-Status": cache_status(state.cache)} if state.cache else {}
    return json_response(_job_json(state), headers=headers)


@route(bp, "")
async def poll_many(shared: Resources, request: Request) -> Response:
    """Return the states of the jobs in `?ids=a,b,c`.

    With `wait=SECONDS`, first wait until one of these jobs has ended. The wait ends after SECONDS at the
    latest.
    """
    ids = _requested_ids(request)
    jobs = zip(ids, await _states(shared, request, ids), strict=True)
    shown = [_job_json(job) if job else {"id": job_id, "status": "unknown"} for job_id, job in jobs]
    return json_response({"jobs": shown})


@route(bp, "/<job_id>", ["DELETE"])
async def cancel(shared: Resources, request: Request, job_id: str) -> Response:
    """Cancel a queued job. If the job is not queued, the HTTP status is 409."""
    status = await shared.in_thread(shared.queue.cancel, job_id, request.owner)
    if not status:
        raise _unknown(job_id, shared)
    if status != "canceled":
        raise Problem(409, f"The job is {status}. Only a queued job can be canceled.")
    return json_response({"id": job_id, "status": status})


def _requested_ids(request: Request) -> list[str]:
    ids = [each for each in request.args.get("ids", "").split(",") if each]
    if not 1 <= len(ids) <= MAX_IDS:
        detail = f"expected from 1 to {MAX_IDS} job ids, got {len(ids)}. Separate the ids by commas."
        raise field_problem(400, "ids", detail)
    for job_id in ids:
        if not re.fullmatch(JOB_ID, job_id):
            raise field_problem(
                400, "ids", f"expected job ids, got {job_id[:40]!r}. Send ids from POST /jobs."
            )
    return ids


async def _states(
    shared: Resources, request: Request, ids: Sequence[str], *, positions: bool = False
) -> list[JobState | None]:
    """Wait until one of the jobs has ended, and return the states of all jobs.

    The URL parameter `wait` is the wait's maximum duration in seconds. A job's state is None if the job is
    unknown or belongs to another caller.
    """
    seconds, owner = _wait_seconds(request), request.owner
    if seconds > 0:
        await shared.inflight.wait_for_any(ids, seconds, owner)
    states = await shared.in_thread(shared.queue.states, ids, owner, positions=positions)
    return [states.get(job_id) for job_id in ids]


def _wait_seconds(request: Request) -> float:
    text = request.args.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT_SECONDS:
        detail = f"expected seconds from 0 to {MAX_WAIT_SECONDS:g}, got {text[:40]!r}"
        raise field_problem(400, "wait", f"{detail}. Send a number in this range.")
    return seconds


def _job_json(state: JobState) -> dict[str, Any]:
    reply = state.reply
    return {
        **{name: getattr(state, name) for name in _FIELDS},
        "result": reply.result if reply and state.status in ENDED else None,
        "error": reply.failure.to_json() if reply and reply.failure else None,
    }


def _unknown(job_id: str, shared: Resources) -> Problem:
    reasons = f"The job never existed, or it ended more than {shared.settings.result_ttl} s ago."
    return Problem(404, f"There is no job {job_id[:64]}. {reasons}")
