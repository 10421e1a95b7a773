"""Limits the number of each caller's requests. A request above the limit gets HTTP status 429.

Flask-Limiter counts the requests in Redis, on the same server as the queue. A caller has one limit for all
paths, and each request counts once toward this limit, unless its route is not limited (see
gateway/route_policy.py). CORS preflights do not count toward the limit either. The gateway itself, not
Flask-Limiter, sets the X-RateLimit headers (docs/decisions.md has the reasons).
"""

import ipaddress
import logging
import math
import time
from typing import NoReturn

from flask import Flask, Response, g
from flask_limiter import ApplicationLimit, Limiter, RequestLimit
from limits import RateLimitItem, WindowStats, parse_many

from gateway.request import current_request
from gateway.too_many_requests import rate_limited
from shared.redis_connection import connect
from shared.settings import Settings, redis_url

KEY_PREFIX = "classification:limits"

_SCOPE = "all"


class RateLimit:
    """Limits the total number of each caller's requests to all endpoints."""

    def __init__(self, app: Flask, settings: Settings, limits: str) -> None:
        """Limit the requests of each caller of `app`. The connection to Redis is opened at the first request.

        Raises:
            SettingsError: `REDIS_URL` is not set.
        """
        # Each unanswered request may need a Redis connection (see worker_connections in gunicorn_conf).
        redis = connect(redis_url(settings), retries=1, max_connections=settings.queue_size + 200)
        self._limits = parse_many(limits)
        self._limiter = Limiter(
            _caller,
            app=app,
            application_limits=[ApplicationLimit(limit_provider=limits, scope=_SCOPE)],
            on_breach=self._refuse,
            strategy="moving-window",
            storage_uri="redis://",  # only selects Redis as the storage; the connection pool has the address
            storage_options={"connection_pool": redis.connection_pool, "key_prefix": KEY_PREFIX},  # type: ignore[dict-item]
            request_identifier=lambda: (
                _SCOPE
            ),  # by default, Flask-Limiter would not count requests for unknown paths
        )
        self._limiter.request_filter(lambda: not current_request().policy.limited)
        app.before_request(self._store_headers)
        app.after_request(_add_headers)
        # Flask-Limiter's log of refused requests is not needed, because the gateway logs every request.
        logging.getLogger("flask-limiter").setLevel(logging.WARNING)

    def _refuse(self, breached: RequestLimit) -> NoReturn:
        windows = {limit: self._window(limit) for limit in self._limits}
        exhausted = [limit for limit in windows if windows[limit].remaining < 1]
        # If several limits are exhausted, report the limit that resets last; Flask-Limiter reports the first.
        limit = max(exhausted, key=lambda each: windows[each].reset_time, default=breached.limit)
        window = windows[limit] if exhausted else breached.window
        g.rate_limit = _headers(limit, window)
        seconds = max(1, math.ceil(window.reset_time - time.time()))
        raise rate_limited(_limit_text(limit), seconds)

    def _window(self, limit: RateLimitItem) -> WindowStats:
        return self._limiter.limiter.get_window_stats(limit, _caller(), _SCOPE)

    def _store_headers(self) -> None:
        # `current.window` reads Redis, so it is read before the view runs: a Redis failure then leads to HTTP
        # status 503. After the view, a Redis failure would lead to status 500.
        if (current := self._limiter.current_limit) is not None:
            g.rate_limit = _headers(current.limit, current.window)


def _add_headers(response: Response) -> Response:
    response.headers.update(g.get("rate_limit", {}))
    return response


def _caller() -> str:
    """Return the name under which the caller's requests are counted.

    The requests are counted under the name of the API key, or else under the sender's network address.
    """
    current = current_request()
    return current.owner or _network(current.remote_addr or "")


def _network(address: str) -> str:
    """Return an IPv4 address, or the first 64 bits of an IPv6 address.

    The first 64 bits of an IPv6 address usually identify one customer's network.
    """
    if address.count(":") == 1:  # some proxies append the port to the address
        address = address.partition(":")[0]
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"  # all malformed addresses share one limit; an empty name would have no limit
    if found.version == 6 and found.ipv4_mapped is None:
        return found.packed[:8].hex()
    return str(found.ipv4_mapped if found.version == 6 else found)


def _headers(limit: RateLimitItem, window: WindowStats) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(limit.amount),
        "X-RateLimit-Remaining": str(max(0, window.remaining)),
        "X-RateLimit-Reset": str(math.ceil(window.reset_time)),
    }


def _limit_text(limit: RateLimitItem) -> str:
    requests = "request" if limit.amount == 1 else "requests"
    span = limit.GRANULARITY.name if limit.multiples == 1 else f"{limit.multiples} {limit.GRANULARITY.name}s"
    return f"{limit.amount} {requests} per {span} from each {'key' if current_request().owner else 'address'}"
