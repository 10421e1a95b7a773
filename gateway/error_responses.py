"""Turns every error into a response of type `application/problem+json` (RFC 9457).

The response names the cause and the action that the caller should take.

The response's HTTP status depends on the error:

Problem                the status that the view has chosen
NotFound               404, with the paths that exist
MethodNotAllowed       405, with the allowed methods
other HTTPException    the status that Flask or Werkzeug has chosen (400, 408 …)
JobFailure             the status of the failure's code in `shared.job.FAILURES`
QueueFull              429, with the estimated number of seconds until the queue has room
JobLost                503
RedisError             503
any other exception    500, with the request's id; the log has the reason
"""

import logging
from http import HTTPStatus
from typing import Any

from redis.exceptions import OutOfMemoryError, RedisError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import Map, RequestRedirect

from gateway.inflight import JobLost
from gateway.problem import RETRY_SECONDS, Problem
from gateway.request import Request
from gateway.response import Response, json_response
from shared.job import FAILURES, JobFailure
from shared.queue.messages import QueueFull

logger = logging.getLogger(__name__)


def error_response(error: Exception, request: Request, routes: Map) -> Response:
    """Convert the error of a request to a response."""
    if isinstance(error, RequestRedirect):  # the path has two slashes where the route has one slash
        return Response(error.code, headers={"Location": error.new_url.removeprefix("http://")})
    response = _respond(_problem(error, request, routes))
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(error.valid_methods or ())
    return response


def _respond(problem: Problem) -> Response:
    body: dict[str, Any] = {
        "type": f"urn:problem:{problem.code}" if problem.code else "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.fields:
        body["errors"] = [{"field": field, "detail": detail} for field, detail in problem.fields.items()]
    response = json_response(body, problem.status, kind="application/problem+json")
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response


def _problem(error: Exception, request: Request, routes: Map) -> Problem:
    match error:
        case Problem():
            return error
        case HTTPException():
            return _http_problem(error, request, routes)
        case JobFailure():
            status = FAILURES[error.code]
            fields = {"blob": error.detail} if status < 500 else None
            return Problem(status, error.detail, fields=fields, code=error.code)
        case QueueFull():
            return Problem(429, str(error), retry_after=error.retry_after)
        case JobLost():
            return Problem(503, "The Redis server lost the job. Send the request again.", retry_after=1)
        case RedisError():
            return _redis_problem(error)
    logger.error("request %s failed", request.id, exc_info=error)
    detail = f"The server failed. Report the request id {request.id}: the server's log has the reason."
    return Problem(500, detail)


def _http_problem(error: HTTPException, request: Request, routes: Map) -> Problem:
    if isinstance(error, NotFound):
        paths = ", ".join(sorted({str(rule) for rule in routes.iter_rules()}))
        return Problem(404, f"There is nothing at {request.path}. Use one of these paths: {paths}")
    if isinstance(error, MethodNotAllowed):
        methods = " or ".join(sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"}))
        detail = f"{request.path}: expected {methods}, got {request.method}. Use an allowed method."
        return Problem(405, detail)
    return Problem(error.code or 500, error.description or "")


def _redis_problem(error: RedisError) -> Problem:
    logger.warning("Redis command failed: %s", error)
    fault = "is out of memory" if isinstance(error, OutOfMemoryError) else "does not answer"
    detail = f"The Redis server {fault}. Send the request again in {RETRY_SECONDS} s."
    return Problem(503, detail, retry_after=RETRY_SECONDS)
