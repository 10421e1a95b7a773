"""One delivery: a signed POST to an address that was checked."""

import base64
import hashlib
import hmac
import logging
import socket
import time
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import SplitResult

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from shared.settings import Settings
from shared.webhook import Address, Allowed, check_url

logger = logging.getLogger(__name__)

TIMES = Timeout(connect=5, read=10)
"""Seconds; RQ's own limit ends a try that a slow server draws out."""


class Undelivered(Exception):
    """This try failed; another may not."""


class Undeliverable(Exception):
    """No further try would help."""


def deliver(url: str, message_id: str, body: str) -> str:
    """POST a job's end, as the Standard Webhooks specification says; RQ calls this.

    Returns a line about the answer, which RQ keeps.

    Raises:
        Undelivered: the address did not answer with a 2xx.
        Undeliverable: the address is not allowed, or answered 410 Gone.
    """
    settings = _settings()
    try:
        target = check_url(url, settings.webhook_allow)
        host = (target.hostname or "").rstrip(".")
        addresses = _resolve(host, settings.webhook_allow)
        headers = signed(message_id, int(time.time()), body.encode(), settings.webhook_secret or ())
        response = _post(target, addresses, body.encode(), headers)
    except ValueError as error:
        raise Undeliverable(f"the address is not allowed: {error}") from None
    except (HTTPError, OSError) as error:
        raise Undelivered(f"{host} did not answer: {error}") from None
    told = f"{host} answered {response.status}"
    logger.info("webhook %s: %s", message_id, told)
    if response.status == 410:
        raise Undeliverable(told)
    if not 200 <= response.status < 300:
        raise Undelivered(f"{told}; redirects are not followed" if 300 <= response.status < 400 else told)
    return told


def signed(message_id: str, timestamp: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """The headers of a message: HMAC-SHA256 over `id.timestamp.body`, with each secret."""
    content = f"{message_id}.{timestamp}.".encode() + body
    digests = [hmac.new(secret, content, hashlib.sha256).digest() for secret in secrets]
    return {
        "content-type": "application/json",
        "user-agent": "classification-server",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join("v1," + base64.b64encode(digest).decode() for digest in digests),
    }


@lru_cache(maxsize=1)
def _settings() -> Settings:
    return Settings.from_environ()


def _resolve(host: str, allowed: Allowed) -> list[Address]:
    """The host's addresses; all of them must be allowed, so that none can be slipped in."""
    found = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    addresses = [ip_address(str(each).split("%")[0]) for each in sorted(map(str, found))]
    allowed.check(host, addresses)
    return addresses


def _post(
    url: SplitResult, addresses: Sequence[Address], body: bytes, headers: dict[str, str]
) -> BaseHTTPResponse:
    """POST to the first address that takes the connection; by number, so that no name is resolved again."""
    failure: Exception | None = None
    for address in addresses:
        try:
            return _post_to(url, address, body, headers)
        except (ConnectTimeoutError, NewConnectionError) as error:
            failure = error
    raise Undelivered(f"{url.hostname} takes no connection: {failure}")


def _post_to(url: SplitResult, address: Address, body: bytes, headers: dict[str, str]) -> BaseHTTPResponse:
    at = f"[{address}]" if address.version == 6 else str(address)
    pool: HTTPConnectionPool
    if url.scheme == "https":
        # The certificate must be that of the name, not of the number.
        pool = HTTPSConnectionPool(
            at, url.port or 443, timeout=TIMES, server_hostname=url.hostname, assert_hostname=url.hostname
        )
    else:
        pool = HTTPConnectionPool(at, url.port or 80, timeout=TIMES)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    with pool:
        response = pool.urlopen(
            "POST",
            path,
            body,
            headers | {"host": url.netloc},
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,  # its body is of no interest
        )
        response.close()
        return response
