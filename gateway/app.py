"""The app factory: `gunicorn 'gateway.app:create_app()'`."""

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
    page_routes,
    status_routes,
)
from gateway.api_key_auth import register_auth
from gateway.common_headers import CommonHeaders
from gateway.error_responses import register_errors
from gateway.job_submitter import Submitter
from gateway.reply_listener import ReplyListener
from gateway.request import Request, current_request
from gateway.request_metrics import count_request, register_metrics
from gateway.resources import Resources
from gateway.startup_checks import api_keys, check_rate_limit
from shared.logs import setup_logging
from shared.queue.gateway_client import GatewayQueue, reply_list
from shared.redis_connection import connect
from shared.settings import Settings, redis_url
from shared.version import version

logger = logging.getLogger(__name__)


def create_app(settings: Settings | None = None, queue: GatewayQueue | None = None) -> Flask:
    """Make the gateway; settings come from the environment, the queue from `REDIS_URL`, unless given.

    Raises:
        SettingsError: a variable holds a value that is not allowed, or `REDIS_URL` is not set.
    """
    if settings is None:
        settings = Settings.from_environ()
        setup_logging(settings.log_format)
    if queue is None:
        # Each waiting request may be in a command at once; those that wait for replies share one connection.
        redis = connect(redis_url(settings), retries=1, max_connections=settings.queue_size + 64)
        queue = GatewayQueue(redis, settings)
    process = f"{socket.gethostname()}-{os.getpid()}-{token_hex(4)}"
    app = Flask(__name__, static_folder=None)
    app.request_class = Request
    app.json.sort_keys = False  # type: ignore[attr-defined]  # best answers first
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    listener = ReplyListener(queue, reply_list(process))
    app.extensions["classification"] = Resources(settings, queue, Submitter(queue), listener)
    app.before_request(_preflight)
    app.after_request(_end)
    _guard(app, settings)
    register_errors(app)
    for module in (
        classify_routes,
        jobs_routes,
        info_routes,
        health_routes,
        docs_routes,
        page_routes,
        status_routes,
    ):
        app.register_blueprint(module.bp)
    register_metrics(app)
    app.wsgi_app = CommonHeaders(app.wsgi_app, settings.cors_origins)  # type: ignore[method-assign]
    logging.getLogger("gateway").info("version %s takes requests", version())
    return app


def _guard(app: Flask, settings: Settings) -> None:
    """Ask for keys and hold rate limits, where they are set; where not, a request does not pay for them."""
    if settings.server_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.server_proxies, x_proto=0)  # type: ignore[method-assign]
    if keys := api_keys(settings):
        register_auth(app, keys)
    check_rate_limit(settings)
    if settings.rate_limit:
        from gateway.rate_limit import RateLimit  # 2 MB that others need not have

        RateLimit(app, settings, settings.rate_limit)


def _preflight() -> Response | None:
    asked = current_request()
    if asked.method == "OPTIONS" and asked.headers.get("Access-Control-Request-Method"):
        return Response(status=204)  # CommonHeaders adds what it asks for
    return None


def _end(response: Response) -> Response:
    asked = current_request()
    response.headers["X-Request-Id"] = asked.id
    seconds = time.monotonic() - asked.started
    count_request(asked.method, asked.url_rule, response.status_code, seconds)
    logger.log(
        # Those come by the second.
        logging.DEBUG if asked.blueprint in ("health", "metrics", "status") else logging.INFO,
        "%s %s %d in %.1f ms, request %s",
        asked.method,
        quote(asked.path),  # a line feed in it must not begin a line of the log
        response.status_code,
        seconds * 1000,
        asked.id,
        extra={
            "request_id": asked.id,
            "owner": asked.owner,
            "status": response.status_code,
            "ms": round(seconds * 1000, 1),
        },
    )
    return response
