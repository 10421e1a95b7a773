"""Creates the gateway's application. Start the application with `gunicorn 'gateway.app:create_app()'`."""

import logging
import os
import socket
from secrets import token_hex

from flask import Flask

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
from gateway.front import Front
from gateway.inflight import InFlight
from gateway.resources import Resources
from gateway.startup_checks import check_rate_limit
from shared.logs import setup_logging
from shared.queue.gateway_client import GatewayQueue, reply_list
from shared.redis_connection import connect
from shared.settings import Settings, redis_url
from shared.version import version

_ROUTES = (
    *(classify_routes, jobs_routes, info_routes, health_routes),
    *(docs_routes, page_routes, status_routes, metrics_routes),
)


def create_app(settings: Settings | None = None, queue: GatewayQueue | None = None) -> Front:
    """Create the gateway's ASGI application.

    By default, `REDIS_URL` and other environment variables configure the application.

    Raises:
        SettingsError: an environment variable has an invalid value, or `REDIS_URL` is not set.
    """
    if settings is None:
        settings = Settings.from_environ()
        setup_logging(settings.log_format)
    if queue is None:
        queue = GatewayQueue(connect(redis_url(settings), retries=1), settings)
    check_rate_limit(settings)
    flask = Flask(__name__, static_folder=None)
    # The front turns the errors of all views into responses.
    flask.config.update(PROPAGATE_EXCEPTIONS=True, TRAP_HTTP_EXCEPTIONS=True)
    flask.json.sort_keys = flask.json.ensure_ascii = False  # type: ignore[attr-defined]
    inflight = InFlight(queue, reply_list(f"{socket.gethostname()}-{os.getpid()}-{token_hex(4)}"))
    shared = flask.extensions["classification"] = Resources(settings, queue, inflight)
    for module in _ROUTES:
        flask.register_blueprint(module.bp)
    logging.getLogger("gateway").info("gateway started: version %s", version())
    return Front(flask, shared)
