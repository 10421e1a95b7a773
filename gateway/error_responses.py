"""Turns every error into a response of type `application/problem+json` (RFC 9457).

The response names the cause and the action that the caller should take.

The response's HTTP status depends on the error:

Problem                the status that the view has chosen
NotFound               404, with the paths that exist
MethodNotAllowed       405, with the allowed methods
other HTTPException    the status that Flask or Werkzeug has chosen (400, 408 …)
JobFailure             the status of the failure's code in `shared.job.FAILURES`
QueueFull              429 (see gateway/too_many_requests.py)
JobLost                503
RedisError             503
any other exception    500, with the request's id; the log has the reason
"""

import logging
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, jsonify, request
from redis.exceptions import OutOfMemoryError, RedisError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from gateway.inflight import JobLost
from gateway.problem import RETRY_SECONDS, Problem
from gateway.request import current_request
from gateway.too_many_requests import queue_full
from shared.job import FAILURES, JobFailure
from shared.queue.messages import QueueFull

logger = logging.getLogger(__name__)

_JOB_LOST = Problem(503, "The Redis server lost the job. Send the request again.", retry_after=1)


def register_errors(app: Flask) -> None:
    """Turn every error of `app` into a response of type `application/problem+json`."""
    app.register_error_handler(Problem, respond)
    app.register_error_handler(NotFound, _not_found)
    app.register_error_handler(MethodNotAllowed, _method_not_allowed)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(JobFailure, _job_failed)
    app.register_error_handler(QueueFull, lambda error: respond(queue_full(error)))
    app.register_error_handler(JobLost, lambda error: respond(_JOB_LOST))
    app.register_error_handler(RedisError, _redis_failed)
    app.register_error_handler(Exception, _server_failed)


def respond(problem: Problem) -> Response:
    """Convert an exception `Problem` to an HTTP response."""
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


def _not_found(error: NotFound) -> Response:
    paths = ", ".join(sorted({str(rule) for rule in current_app.url_map.iter_rules()}))
    return respond(Problem(404, f"There is nothing at {request.path}. Use one of these paths: {paths}"))


def _method_not_allowed(error: MethodNotAllowed) -> Response:
    methods = " or ".join(sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"}))
    detail = f"{request.path}: expected {methods}, got {request.method}. Use an allowed method."
    response = respond(Problem(405, detail))
    response.headers["Allow"] = ", ".join(error.valid_methods or ())
    return response


def _http_error(error: HTTPException) -> Response:
    if error.code is None or error.code < 400:
        return Response(status=error.code, headers=error.get_headers())
    return respond(Problem(error.code, error.description or ""))


def _job_failed(failure: JobFailure) -> Response:
    status = FAILURES[failure.code]
    fields = {"blob": failure.detail} if status < 500 else None
    return respond(Problem(status, failure.detail, fields=fields, code=failure.code))


def _redis_failed(error: RedisError) -> Response:
    logger.warning("Redis command failed: %s", error)
    fault = "is out of memory" if isinstance(error, OutOfMemoryError) else "does not answer"
    detail = f"The Redis server {fault}. Send the request again in {RETRY_SECONDS} s."
    return respond(Problem(503, detail, retry_after=RETRY_SECONDS))


def _server_failed(error: Exception) -> Response:
    request_id = current_request().id
    logger.error("request %s failed", request_id, exc_info=error)
    detail = f"The server failed. Report the request id {request_id}: the server's log has the reason."
    return respond(Problem(500, detail))
