"""Rate limits: Flask-Limiter counts each caller's requests on the queue's Redis server.

One request is one count, whatever it asks; health, the page with its figures, and preflights are not counted.
What the limits are and what is left of them is told here, not by Flask-Limiter: docs/decisions.md says why.
"""

import ipaddress
import logging
import math
import time
from typing import NoReturn

from flask import Flask, Response, g, request
from flask_limiter import ApplicationLimit, Limiter, RequestLimit
from limits import RateLimitItem, WindowStats, parse_many

from gateway.error_responses import Problem
from gateway.request import current_request
from shared.redis_connection import connect
from shared.settings import Settings, redis_url

KEY_PREFIX = "classification:limits"

UNCOUNTED = frozenset({"health", "page", "status"})
"""Blueprints whose requests are free: an open page must not use up what its reader has."""

_SCOPE = "all"


class RateLimit:
    """The limits of an app, each for one caller and all that it calls."""

    def __init__(self, app: Flask, settings: Settings, limits: str) -> None:
        """Hold the callers of `app` to `limits`; nothing is sent to Redis before the first request.

        Raises:
            SettingsError: there is no `REDIS_URL`.
        """
        # As many as requests can be in flight: see gunicorn_conf.
        redis = connect(redis_url(settings), retries=1, max_connections=settings.queue_size + 200)
        self._limits = parse_many(limits)
        self._limiter = Limiter(
            caller,
            app=app,
            application_limits=[ApplicationLimit(limit_provider=limits, scope=_SCOPE)],
            on_breach=self._refuse,
            strategy="moving-window",
            storage_uri="redis://",  # names the kind of server; where it is, the pool knows
            storage_options={"connection_pool": redis.connection_pool, "key_prefix": KEY_PREFIX},  # type: ignore[dict-item]
            request_identifier=lambda: _SCOPE,  # the default skips requests for paths that are not served
        )
        self._limiter.request_filter(lambda: request.blueprint in UNCOUNTED)
        app.before_request(self._note)
        app.after_request(_tell)
        # The gateway's own line tells of the 429.
        logging.getLogger("flask-limiter").setLevel(logging.WARNING)

    def _refuse(self, breached: RequestLimit) -> NoReturn:
        used_up = {limit: window for limit in self._limits if (window := self._window(limit)).remaining < 1}
        # Flask-Limiter stops at the first limit; another that is used up too may last longer.
        limit = max(used_up, key=lambda each: used_up[each].reset_time, default=breached.limit)
        window = used_up.get(limit) or breached.window
        g.rate_limit = _headers(limit, window)
        wait = max(1, math.ceil(window.reset_time - time.time()))
        raise Problem(429, f"{_words(limit)}, which are used up; send it again in {wait} s", retry_after=wait)

    def _window(self, limit: RateLimitItem) -> WindowStats:
        return self._limiter.limiter.get_window_stats(limit, caller(), _SCOPE)

    def _note(self) -> None:
        # Asked before the view, where a Redis that is away still makes a 503.
        if (current := self._limiter.current_limit) is not None:
            g.rate_limit = _headers(current.limit, current.window)


def _tell(response: Response) -> Response:
    response.headers.update(g.get("rate_limit", {}))
    return response


def caller() -> str:
    """Whom a request is counted for: the owner of its key, or else the address that it comes from."""
    asked = current_request()
    return asked.owner or _network(asked.remote_addr or "")


def _network(address: str) -> str:
    """The IPv4 address, or the first half of the IPv6 one: whoever has one such has all that begin alike."""
    if address.count(":") == 1:  # some proxies write the port too
        address = address.partition(":")[0]
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"  # all of these together, as an empty name would not be counted
    if found.version == 6 and found.ipv4_mapped is None:
        return found.packed[:8].hex()
    return str(found.ipv4_mapped if found.version == 6 else found)


def _headers(limit: RateLimitItem, window: WindowStats) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(limit.amount),
        "X-RateLimit-Remaining": str(max(0, window.remaining)),
        "X-RateLimit-Reset": str(math.ceil(window.reset_time)),
    }


def _words(limit: RateLimitItem) -> str:
    whose = "key" if current_request().owner else "address"
    span = limit.GRANULARITY.name if limit.multiples == 1 else f"{limit.multiples} {limit.GRANULARITY.name}s"
    return f"each {whose} has {limit.amount} requests per {span}"
