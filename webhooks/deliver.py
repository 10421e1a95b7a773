"""Delivers one webhook: sends a signed POST request to an allowed address."""

import logging
import socket
import time
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from shared.settings import Settings
from shared.webhook import Address, Allowed, check_url
from webhooks.signature import signed_headers

logger = logging.getLogger(__name__)

TIMEOUTS = Timeout(connect=5, read=10)
"""Maximum times in seconds: `connect` is for the connection's start, and `read` is for the time between
two received parts of the response. RQ limits the total time of each delivery attempt."""

NO_FOLLOW_UP: dict[str, Any] = dict.fromkeys(
    ("retries", "redirect", "assert_same_host", "preload_content"), False
)
"""Options that switch off urllib3's retries, its redirects and its reading of the response's body. RQ
repeats failed deliveries, so urllib3 need not repeat them. Redirects may lead to forbidden addresses. The
service does not use the response's body."""


class Undelivered(Exception):
    """An attempt to deliver a webhook failed. Another attempt may succeed."""


class Undeliverable(Exception):
    """An attempt to deliver a webhook failed, and no other attempt can succeed."""


def deliver(url: str, message_id: str, body: str) -> str:
    """Report a job's end in a POST request to the webhook's URL.

    The specification Standard Webhooks defines the request's format. RQ calls this function, and stores its
    return value: a summary of the response.

    Raises:
        Undelivered: the webhook's server did not answer with a 2xx status.
        Undeliverable: the webhook's address is not allowed, or the server answered 410 Gone.
    """
    settings = _settings()
    try:
        target = check_url(url, settings.webhook_allow)
        host = (target.hostname or "").rstrip(".")
        addresses = _resolve(host, settings.webhook_allow)
        headers = signed_headers(message_id, int(time.time()), body.encode(), settings.webhook_secret or ())
        response = _post(target, addresses, body.encode(), headers)
    except ValueError as error:
        raise Undeliverable(f"the webhook's address is not allowed: {error}") from None
    except (HTTPError, OSError) as error:
        raise Undelivered(f"{host} did not answer: {error}") from None
    summary = f"{host} answered {response.status}"
    logger.info("webhook %s sent: %s", message_id, summary)
    if response.status == 410:
        raise Undeliverable(summary)
    if not 200 <= response.status < 300:
        is_redirect = 300 <= response.status < 400
        raise Undelivered(f"{summary}; redirects are not followed" if is_redirect else summary)
    return summary


@lru_cache(maxsize=1)
def _settings() -> Settings:
    return Settings.from_environ()


def _resolve(host: str, allowed: Allowed) -> list[Address]:
    """Return the host's IP addresses.

    Every address must be allowed, because the request may use any of these addresses.
    """
    found = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    addresses = [ip_address(str(each).split("%")[0]) for each in sorted(map(str, found))]
    allowed.check(host, addresses)
    return addresses


def _post(
    url: SplitResult, addresses: Sequence[Address], body: bytes, headers: dict[str, str]
) -> BaseHTTPResponse:
    """Send the POST request to the first address that accepts a connection.

    The caller of this function has already checked that all these addresses are allowed.
    """
    failure: Exception | None = None
    for address in addresses:
        try:
            return _post_to(url, address, body, headers)
        except (ConnectTimeoutError, NewConnectionError) as error:
            failure = error
    raise Undelivered(f"{url.hostname} accepts no connection: {failure}")


def _post_to(url: SplitResult, address: Address, body: bytes, headers: dict[str, str]) -> BaseHTTPResponse:
    host = f"[{address}]" if address.version == 6 else str(address)
    pool: HTTPConnectionPool
    if url.scheme == "https":
        # The pool connects to the IP address, but the TLS certificate must be valid for the host's name.
        names: dict[str, Any] = {"server_hostname": url.hostname, "assert_hostname": url.hostname}
        pool = HTTPSConnectionPool(host, url.port or 443, timeout=TIMEOUTS, **names)
    else:
        pool = HTTPConnectionPool(host, url.port or 80, timeout=TIMEOUTS)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    with pool:
        response = pool.urlopen("POST", path, body, headers | {"host": url.netloc}, **NO_FOLLOW_UP)
        response.close()
        return response
