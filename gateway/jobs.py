"""The asynchronous side: POST /jobs submits, GET /jobs/<id> polls or waits, DELETE cancels."""

import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from flask import Blueprint, Response, g, jsonify, request

from gateway.errors import Problem
from gateway.resources import resources
from gateway.uploads import read_uploads
from shared.queue import BULK, ENDED, JobState, NewJob

bp = Blueprint("jobs", __name__, url_prefix="/jobs")

MOST_IDS = 100
"""Jobs that one call may ask for."""

MOST_WAIT_SECONDS = 60.0


@bp.post("")
def submit() -> Response:
    """Queue the form's images, one job each, all or none; answer 202 with where to ask for them."""
    shared = resources()
    images, options = read_uploads(request, shared.settings)
    jobs = [NewJob(uuid4().hex, image, options, g.request_id) for image in images]
    shared.queue.submit(jobs, BULK)
    told = [{"id": job.id, "status": "queued", "href": f"/jobs/{job.id}"} for job in jobs]
    response = jsonify({"jobs": told})
    response.status_code = 202
    ids = ",".join(job.id for job in jobs)
    response.headers["Location"] = f"/jobs/{ids}" if len(jobs) == 1 else f"/jobs?ids={ids}"
    return response


@bp.get("/<job_id>")
def poll(job_id: str) -> dict[str, Any]:
    """What is known of a job; with `?wait=SECONDS`, when it has ended or the time is over."""
    (state,) = _states([job_id], positions=True)
    return _told(state) if state else _unknown(job_id)


@bp.get("")
def poll_many() -> dict[str, Any]:
    """The same for `?ids=a,b,c`; with `wait`, as soon as any of them has ended."""
    ids = [each for each in request.args.get("ids", "").split(",") if each]
    if not 1 <= len(ids) <= MOST_IDS:
        detail = f"it names {len(ids)} jobs; name from 1 to {MOST_IDS}, separated by commas"
        raise Problem(400, f"ids: {detail}", fields={"ids": detail})
    states = _states(ids)
    named = zip(ids, states, strict=True)
    return {
        "jobs": [_told(state) if state else {"id": job_id, "status": "unknown"} for job_id, state in named]
    }


@bp.delete("/<job_id>")
def cancel(job_id: str) -> dict[str, Any]:
    """Cancel a job that still waits; 409 with its status otherwise."""
    status = resources().queue.cancel(job_id)
    if not status:
        return _unknown(job_id)
    if status != "canceled":
        raise Problem(409, f"the job is {status}; only one that is queued can be canceled")
    return {"id": job_id, "status": status}


def _states(ids: Sequence[str], *, positions: bool = False) -> list[JobState | None]:
    """The jobs' states, after the wait that the caller asked for."""
    shared, seconds = resources(), _wait_seconds()
    if seconds > 0:
        end = time.monotonic() + seconds
        with shared.listener.expect(*ids) as waiter:
            if not shared.queue.watch(ids, shared.listener.reply_to):
                waiter.wait(end - time.monotonic())
    found = shared.queue.states(ids, positions=positions)
    return [found.get(job_id) for job_id in ids]


def _wait_seconds() -> float:
    text = request.args.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MOST_WAIT_SECONDS:
        detail = f"it is {text[:40]!r}, and takes seconds from 0 to {MOST_WAIT_SECONDS:g}"
        raise Problem(400, f"wait: {detail}", fields={"wait": detail})
    return seconds


def _told(state: JobState) -> dict[str, Any]:
    reply = state.reply
    return {
        "id": state.id,
        "status": state.status,
        "position": state.position,
        "submitted_at": state.submitted_at,
        "started_at": state.started_at,
        "ended_at": state.ended_at,
        "attempts": state.attempts,
        "result": reply.result if reply and state.status in ENDED else None,
        "error": reply.failure.to_json() if reply and reply.failure else None,
    }


def _unknown(job_id: str) -> dict[str, Any]:
    kept = resources().settings.result_ttl
    raise Problem(404, f"there is no job {job_id[:64]}: it never was, or it ended more than {kept} s ago")
