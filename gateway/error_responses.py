"""Errors as `application/problem+json` (RFC 9457): what was wrong, where, and what to do.

Problem                what a view raises
HTTPException          what Flask and Werkzeug raise (404, 405, 408 …)
JobFailure             what a worker says of a job; `shared.job.FAILURES` has the status
QueueFull              429, with the seconds until there will be room
RedisError             503
anything else          500 with the request's id; the reason is in the log
"""

import logging
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, jsonify, request
from redis.exceptions import OutOfMemoryError, RedisError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from gateway.request import current_request
from shared.job import FAILURES, JobFailure
from shared.queue.messages import QueueFull

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5
"""What `Retry-After` says where nobody can know better."""


class Problem(Exception):
    """An answer that is an error; `fields` names the form fields at fault, with the fault of each."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        fields: dict[str, str] | None = None,
        retry_after: int | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.code = status, detail, code
        self.fields, self.retry_after = fields or {}, retry_after


def register_errors(app: Flask) -> None:
    """Answer every error of `app` as problem+json."""
    app.register_error_handler(Problem, respond)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(JobFailure, _job)
    app.register_error_handler(QueueFull, _full)
    app.register_error_handler(RedisError, _redis)
    app.register_error_handler(Exception, _unknown)


def respond(problem: Problem) -> Response:
    """The HTTP response for a problem."""
    body: dict[str, Any] = {
        "type": f"urn:problem:{problem.code}" if problem.code else "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.fields:
        body["errors"] = [{"field": field, "detail": detail} for field, detail in problem.fields.items()]
    response = jsonify(body)
    response.status_code = problem.status
    response.content_type = "application/problem+json"
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response


def _http(error: HTTPException) -> Response:
    if error.code is None or error.code < 400:
        return Response(status=error.code, headers=error.get_headers())
    detail = error.description or ""
    if isinstance(error, NotFound):
        paths = sorted({str(rule) for rule in current_app.url_map.iter_rules()})
        detail = f"there is nothing at {request.path}; these paths are served: {', '.join(paths)}"
    elif isinstance(error, MethodNotAllowed):
        allowed = sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"})
        detail = f"{request.path} takes {' or '.join(allowed)}, not {request.method}"
    response = respond(Problem(error.code, detail))
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _job(failure: JobFailure) -> Response:
    field = {"blob": failure.detail} if FAILURES[failure.code] < 500 else None
    return respond(Problem(FAILURES[failure.code], failure.detail, fields=field, code=failure.code))


def _full(error: QueueFull) -> Response:
    return respond(Problem(429, str(error), retry_after=error.retry_after))


def _redis(error: RedisError) -> Response:
    logger.warning("Redis: %s", error)
    full = isinstance(error, OutOfMemoryError)
    what = "the queue's server is out of memory" if full else "the queue's server does not answer"
    return respond(Problem(503, f"{what}; send it again in {RETRY_SECONDS} s", retry_after=RETRY_SECONDS))


def _unknown(error: Exception) -> Response:
    request_id = current_request().id
    logger.error("request %s failed", request_id, exc_info=error)
    detail = f"a fault of the server, written to its log under the request id {request_id}"
    return respond(Problem(500, detail))
