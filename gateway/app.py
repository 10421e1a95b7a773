"""Creates the gateway's Flask app. Start the Flask app with `gunicorn 'gateway.app:create_app()'`."""

import logging
import os
import socket
import time
from secrets import token_hex
from urllib.parse import quote

from flask import Flask, Response
from werkzeug.middleware.proxy_fix import ProxyFix

from gateway import (
    classify_routes,
    docs_routes,
    health_routes,
    info_routes,
    jobs_routes,
    metrics_routes,
    page_routes,
    status_routes,
)
from gateway.api_key_auth import register_auth
from gateway.common_headers import CommonHeaders
from gateway.error_responses import register_errors
from gateway.inflight import InFlight
from gateway.request import Request, current_request
from gateway.resources import Resources, resources
from gateway.startup_checks import api_keys, check_rate_limit
from shared.logs import setup_logging
from shared.queue.gateway_client import GatewayQueue, reply_list
from shared.redis_connection import connect
from shared.settings import Settings, redis_url
from shared.version import version

logger = logging.getLogger(__name__)

_ROUTES = (
    *(classify_routes, jobs_routes, info_routes, health_routes),
    *(docs_routes, page_routes, status_routes, metrics_routes),
)


def create_app(settings: Settings | None = None, queue: GatewayQueue | None = None) -> Flask:
    """Create the gateway's Flask app.

    By default, `REDIS_URL` and other environment variables configure the app.

    Raises:
        SettingsError: an environment variable has an invalid value, or `REDIS_URL` is not set.
    """
    if settings is None:
        settings = Settings.from_environ()
        setup_logging(settings.log_format)
    if queue is None:
        # Each HTTP request may need a Redis connection. A separate connection receives the workers' replies.
        redis = connect(redis_url(settings), retries=1, max_connections=settings.queue_size + 64)
        queue = GatewayQueue(redis, settings)
    app = Flask(__name__, static_folder=None)
    app.request_class = Request
    app.json.sort_keys = False  # type: ignore[attr-defined]  # keep the order: best predictions first
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    inflight = InFlight(queue, reply_list(f"{socket.gethostname()}-{os.getpid()}-{token_hex(4)}"))
    app.extensions["classification"] = Resources(settings, queue, inflight)
    app.before_request(_answer_preflight)
    app.after_request(_finish)
    _register_guards(app, settings)
    register_errors(app)
    for module in _ROUTES:
        app.register_blueprint(module.bp)
    app.wsgi_app = CommonHeaders(app.wsgi_app, settings.cors_origins)  # type: ignore[method-assign]
    logging.getLogger("gateway").info("gateway started: version %s", version())
    return app


def _register_guards(app: Flask, settings: Settings) -> None:
    """Register the API key check if the settings contain an API key. Register the rate limit if it is set."""
    if settings.server_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.server_proxies, x_proto=0)  # type: ignore[method-assign]
    if keys := api_keys(settings):
        register_auth(app, keys)
    check_rate_limit(settings)
    if settings.rate_limit:
        # This module needs 2 MB of memory, so it is imported only if there is a rate limit.
        from gateway.rate_limit import RateLimit

        RateLimit(app, settings, settings.rate_limit)


def _answer_preflight() -> Response | None:
    request = current_request()
    if request.method == "OPTIONS" and request.headers.get("Access-Control-Request-Method"):
        return Response(status=204)  # the class CommonHeaders adds the CORS headers
    return None


def _finish(response: Response) -> Response:
    """Add the request's id to the response, count the request and log it."""
    request = current_request()
    response.headers["X-Request-Id"] = request.id
    status, seconds = response.status_code, time.monotonic() - request.started
    resources().request_metrics.count(request.method, request.url_rule, status, seconds)
    level = logging.DEBUG if request.policy.quiet else logging.INFO
    path, ms = quote(request.path), seconds * 1000  # a line feed in the path must not start a new log line
    fields = {"request_id": request.id, "owner": request.owner, "status": status, "ms": round(ms, 1)}
    text = "%s %s %d in %.1f ms, request %s"
    logger.log(level, text, request.method, path, status, ms, request.id, extra=fields)
    return response
