"""The asynchronous side: POST /jobs submits, GET /jobs/<id> polls or waits, DELETE cancels."""

import re
import time
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, jsonify, request

from gateway.error_responses import Problem
from gateway.new_jobs import accepted, cache_status, new_job, repeatable, webhook
from gateway.request import current_request
from gateway.resources import resources
from gateway.upload_fields import most_images, read_uploads
from gateway.upload_form import read_form
from shared.queue import BULK
from shared.queue.messages import JobState, KeyReused
from shared.queue.wire import ENDED

bp = Blueprint("jobs", __name__, url_prefix="/jobs")

MAX_IDS = 100
"""Jobs that one call may ask for."""

MAX_WAIT_SECONDS = 60.0

JOB_ID = "[0-9A-Za-z_-]{1,64}"
"""What an id may look like; all of those that one call may ask for fit into a URL."""


@bp.post("")
def submit() -> Response:
    """Queue the form's images, one job each, all or none; answer 202 with where to ask for them.

    With an `Idempotency-Key`, the same form sent again is answered with the same jobs.
    """
    shared = resources()
    form = read_form(current_request(), shared.settings, most_images(shared.settings))
    images, options = read_uploads(form, shared.settings)
    told = webhook(form)
    jobs = [new_job(shared, image, options, webhook=told) for image in images]
    try:
        done = shared.queue.submit(jobs, BULK, repeatable=repeatable(images, options, told))
    except KeyReused:
        raise Problem(
            409, "Idempotency-Key: it was sent with another form before; choose a new key for a new one"
        ) from None
    if not done.replayed:
        return accepted(done.ids, ["finished" if cache == "hit" else "queued" for cache in done.cache])
    found = shared.queue.states(done.ids)
    response = accepted(done.ids, [found[each].status if each in found else "unknown" for each in done.ids])
    response.headers["Idempotency-Replayed"] = "true"
    return response


@bp.get("/<job_id>")
def poll(job_id: str) -> Response:
    """What is known of a job; with `?wait=SECONDS`, when it has ended or the time is over."""
    (state,) = _states([job_id], positions=True)
    if state is None:
        raise _unknown(job_id)
    response = jsonify(_told(state))
    if state.cache:
        response.headers["Cache-Status"] = cache_status(state.cache)
    return response


@bp.get("")
def poll_many() -> dict[str, Any]:
    """The same for `?ids=a,b,c`; with `wait`, as soon as any of them has ended."""
    ids = [each for each in request.args.get("ids", "").split(",") if each]
    if not 1 <= len(ids) <= MAX_IDS:
        detail = f"it names {len(ids)} jobs; name from 1 to {MAX_IDS}, separated by commas"
        raise Problem(400, f"ids: {detail}", fields={"ids": detail})
    strange = next((each for each in ids if not re.fullmatch(JOB_ID, each)), None)
    if strange is not None:
        detail = f"{strange[:40]!r} is no job's id"
        raise Problem(400, f"ids: {detail}", fields={"ids": detail})
    states = _states(ids)
    named = zip(ids, states, strict=True)
    return {
        "jobs": [_told(state) if state else {"id": job_id, "status": "unknown"} for job_id, state in named]
    }


@bp.delete("/<job_id>")
def cancel(job_id: str) -> dict[str, Any]:
    """Cancel a job that still waits; 409 with its status otherwise."""
    status = resources().queue.cancel(job_id, _owner())
    if not status:
        raise _unknown(job_id)
    if status != "canceled":
        raise Problem(409, f"the job is {status}; only one that is queued can be canceled")
    return {"id": job_id, "status": status}


def _states(ids: Sequence[str], *, positions: bool = False) -> list[JobState | None]:
    """The jobs' states, after the wait that the caller asked for."""
    shared, seconds = resources(), _wait_seconds()
    if seconds > 0:
        end = time.monotonic() + seconds
        with shared.listener.expect(*ids) as waiter:
            if not shared.queue.watch(ids, shared.listener.reply_to, _owner()):
                waiter.queued()
                waiter.wait(end - time.monotonic())
    found = shared.queue.states(ids, _owner(), positions=positions)
    return [found.get(job_id) for job_id in ids]


def _owner() -> str:
    """Whose jobs this request may see: those made with the same API key."""
    return current_request().owner


def _wait_seconds() -> float:
    text = request.args.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT_SECONDS:
        detail = f"it is {text[:40]!r}, and takes seconds from 0 to {MAX_WAIT_SECONDS:g}"
        raise Problem(400, f"wait: {detail}", fields={"wait": detail})
    return seconds


def _told(state: JobState) -> dict[str, Any]:
    reply = state.reply
    return {
        "id": state.id,
        "status": state.status,
        "position": state.position,
        "estimated_wait": state.estimated_wait,
        "submitted_at": state.submitted_at,
        "started_at": state.started_at,
        "ended_at": state.ended_at,
        "attempts": state.attempts,
        "result": reply.result if reply and state.status in ENDED else None,
        "error": reply.failure.to_json() if reply and reply.failure else None,
    }


def _unknown(job_id: str) -> Problem:
    kept = resources().settings.result_ttl
    return Problem(404, f"there is no job {job_id[:64]}: it never was, or it ended more than {kept} s ago")
