"""The gateway's ASGI application. It does for every request what no endpoint does itself.

The application checks the API key and the rate limit, turns errors into responses, adds the common headers,
counts the request and logs it. The view of a request's route is either a coroutine function or a view of
Flask. Coroutine functions run on the event loop: they are the endpoints that receive most requests or wait
for jobs. Flask's views run in threads.
"""

import logging
import time
from typing import Any
from urllib.parse import quote

from flask import Flask
from werkzeug.exceptions import HTTPException

from gateway.api_key_auth import authenticate
from gateway.common_headers import CommonHeaders
from gateway.error_responses import error_response
from gateway.request import Receive, Request, Scope, Send
from gateway.resources import Resources
from gateway.response import Response
from gateway.route_policy import policy_of
from gateway.startup_checks import api_keys

logger = logging.getLogger("gateway.app")

MAX_REST_SECONDS = 0.5
"""Maximum time for which a response waits for the rest of the request's body, in seconds. A connection whose
request was read completely can be used again."""

MAX_LINGER_SECONDS = 30.0
"""Maximum time after a response in which the rest of the request's body is read, in seconds. If the
connection ended earlier, a caller that is still sending would receive a reset instead of the response."""


class Front:
    """An ASGI application. `routes` has the routes of all endpoints."""

    def __init__(self, flask: Flask, resources: Resources) -> None:
        self.resources, self.routes = resources, flask.url_map
        self._flask, self._views = flask, flask.view_functions
        self._adapter = self.routes.bind("")
        self._keys = api_keys(resources.settings)
        self._common_headers = CommonHeaders(resources.settings.cors_origins)
        self._limit = _rate_limit(resources)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. WebSockets are refused."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await self._serve(Request(scope, receive), send)

    async def _serve(self, request: Request, send: Send) -> None:
        response = await self._answer(request)
        # The connections of slow callers and of callers without a valid API key end.
        if response.status not in (401, 408):
            await request.discard_body(MAX_REST_SECONDS)
        self._finish(request, response)
        headers = [(name.encode(), value.encode("latin-1")) for name, value in response.headers.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        body = b"" if request.method == "HEAD" else response.body
        await send({"type": "http.response.body", "body": body})
        if response.status != 408:
            await request.discard_body(MAX_LINGER_SECONDS)

    async def _answer(self, request: Request) -> Response:
        try:
            view, arguments = self._match(request)
            if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
                # The class CommonHeaders adds the CORS headers.
                return Response(204, headers={"Content-Type": "text/html; charset=utf-8"})
            await self._admit(request)
            if isinstance(view, HTTPException):
                raise view
            if request.policy.on_loop and request.method != "OPTIONS":
                answer: Response = await view(self.resources, request, **arguments)
                return answer
            return await self.resources.in_thread(self._call_flask, request)
        except Exception as error:
            return error_response(error, request, self.routes)

    async def _admit(self, request: Request) -> None:
        """Check the request's API key, and count the request toward its caller's rate limit."""
        if self._keys and not request.policy.public:
            authenticate(request, self._keys)
        if self._limit and request.policy.limited:
            await self.resources.in_thread(self._limit.count, request)

    def _match(self, request: Request) -> tuple[Any, dict[str, Any]]:
        """Return the view of the request's route and the view's arguments.

        If there is no such route, return the error instead of the view: callers without an API key may not
        learn the reason.
        """
        try:
            query = request.scope["query_string"].decode("latin-1")
            rule, arguments = self._adapter.match(request.path, request.method, True, query)
        except HTTPException as error:
            return error, {}
        view = self._views[rule.endpoint]
        request.route, request.policy = rule.rule, policy_of(view)
        return view, dict(arguments)

    def _call_flask(self, request: Request) -> Response:
        answer = self._flask.response_class.from_app(self._flask.wsgi_app, _environ(request), buffered=True)
        return Response(answer.status_code, answer.get_data(), dict(answer.headers))

    def _finish(self, request: Request, response: Response) -> None:
        """Complete the response's headers, count the request and log it."""
        response.headers |= request.answer_headers
        response.headers["X-Request-Id"] = request.id
        if response.status not in (204, 304):
            response.headers.setdefault("Content-Length", str(len(response.body)))
        self._common_headers.add(request, response)
        status, seconds = response.status, time.monotonic() - request.started
        self.resources.request_metrics.count(request.method, request.route, status, seconds)
        level = logging.DEBUG if request.policy.quiet else logging.INFO
        ms = seconds * 1000
        path = quote(request.path)  # a line feed in the path must not start a new log line
        fields = {"request_id": request.id, "owner": request.owner, "status": status, "ms": round(ms, 1)}
        text = "%s %s %d in %.1f ms, request %s"
        logger.log(level, text, request.method, path, status, ms, request.id, extra=fields)


def _rate_limit(resources: Resources) -> Any:
    if not resources.settings.rate_limit:
        return None
    # This module needs 2 MB of memory, so it is imported only if there is a rate limit.
    from gateway.rate_limit import RateLimit

    return RateLimit(resources.settings, resources.settings.rate_limit)


def _environ(request: Request) -> dict[str, Any]:
    """Return a WSGI environment. Flask's views read neither the request's body nor the URL's parameters."""
    return {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path.encode().decode("latin-1"),
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()},
    }


async def _live(receive: Receive, send: Send) -> None:
    """Follow the server's start and stop, which need no action."""
    for event in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{event}.complete"})
