"""Limits the number of each caller's requests. A request above the limit gets HTTP status 429.

The library `limits` counts the requests in Redis, on the same server as the queue. A caller has one limit for
all paths, and each request counts once toward this limit, unless its route is not limited (see
gateway/route_policy.py). CORS preflights do not count toward the limit either.
"""

import ipaddress
import math
import time

from limits import RateLimitItem, WindowStats, parse_many
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from werkzeug.http import parse_list_header

from gateway.problem import Problem
from gateway.request import Request
from shared.redis_connection import connect
from shared.settings import Settings, redis_url

KEY_PREFIX = "classification:limits"

_SCOPE = "all"


class RateLimit:
    """Limits the total number of each caller's requests to all endpoints."""

    def __init__(self, settings: Settings, limits: str) -> None:
        """Prepare the limits. The connection to Redis is opened at the first request.

        Raises:
            SettingsError: `REDIS_URL` is not set.
        """
        pool = connect(redis_url(settings), retries=1).connection_pool
        # The address redis:// only selects the kind of the storage. The connection pool has the address.
        storage = RedisStorage("redis://", connection_pool=pool, key_prefix=KEY_PREFIX)
        self._limiter = MovingWindowRateLimiter(storage)
        self._limits = sorted(parse_many(limits))
        self._proxies = settings.server_proxies

    def count(self, request: Request) -> None:
        """Count a request, and set the X-RateLimit headers of its response.

        Raises:
            Problem: the caller's limit is exhausted.
            RedisError: Redis does not answer.
        """
        caller = request.owner or _network(self._address(request))
        if all(self._limiter.hit(limit, caller, _SCOPE) for limit in self._limits):
            shown = self._limits[0]
            request.answer_headers |= _headers(shown, self._window(shown, caller))
            return
        windows = [(self._window(limit, caller), limit) for limit in self._limits]
        # If several limits are exhausted, report the limit that resets last.
        window, limit = max(windows, key=lambda each: (each[0].remaining < 1, each[0].reset_time))
        request.answer_headers |= _headers(limit, window)
        raise _refusal(limit, window, "key" if request.owner else "address")

    def _window(self, limit: RateLimitItem, caller: str) -> WindowStats:
        return self._limiter.get_window_stats(limit, caller, _SCOPE)

    def _address(self, request: Request) -> str:
        """Return the sender's network address: each proxy has appended its client's address to a header."""
        forwarded = parse_list_header(request.headers.get("x-forwarded-for", "")) if self._proxies else []
        return forwarded[-self._proxies] if len(forwarded) >= self._proxies > 0 else request.peer


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


def _refusal(limit: RateLimitItem, window: WindowStats, counted: str) -> Problem:
    requests = "request" if limit.amount == 1 else "requests"
    span = limit.GRANULARITY.name if limit.multiples == 1 else f"{limit.multiples} {limit.GRANULARITY.name}s"
    seconds = max(1, math.ceil(window.reset_time - time.time()))
    expected = f"expected at most {limit.amount} {requests} per {span} from each {counted}, got more"
    return Problem(
        429, f"Rate limit: {expected}. Send the request again in {seconds} s.", retry_after=seconds
    )
