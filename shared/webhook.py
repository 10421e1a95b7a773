"""Defines the addresses to which webhooks may be sent, and the RQ job that delivers a webhook.

The gateway checks a webhook's URL when a job is submitted. The webhook sender resolves the host's name before
each attempt, and checks the resulting addresses.
"""

import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, urlsplit

QUEUE = "webhooks"
"""The name of the RQ queue for webhook deliveries."""

FUNCTION = "webhooks.deliver.deliver"

RETRY_SECONDS = (5, 30, 120, 300, 900, 1800, 3600, 7200, 14_400, 21_600, 36_000)
"""The pauses between the twelve attempts to deliver a webhook, in seconds.

In total, the pauses last about a day."""

TIMEOUT = 20
"""Maximum duration of one attempt to deliver a webhook, in seconds."""

RECORD: dict[str, Any] = {
    "status": "queued",
    "origin": QUEUE,
    "description": "report a job's end to a webhook",
    "timeout": TIMEOUT,
    "result_ttl": 3600,
    "failure_ttl": 86_400,
    "retries_left": len(RETRY_SECONDS),
    "retry_intervals": json.dumps(RETRY_SECONDS),
}
"""The constant fields of the RQ job that delivers a webhook. `lua/end_job.lua` adds the other fields."""

MAX_URL = 2048
"""Maximum length of a webhook's URL, in characters."""

_NAT64 = ip_network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


class Forbidden(ValueError):
    """Raised if a webhook's address is neither public nor allowed by `WEBHOOK_ALLOW`."""


@dataclass(frozen=True)
class Allowed:
    """The hosts, addresses and networks in `WEBHOOK_ALLOW`.

    Webhooks may go to the hosts in `WEBHOOK_ALLOW` even if their addresses are not public.
    """

    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Allowed":
        """Parse a list of host names, addresses and networks, separated by commas.

        Raises:
            ValueError: a host name, address or network is malformed.
        """
        names, networks = set(), []
        for entry in filter(None, (each.strip().lower() for each in text.split(","))):
            try:
                networks.append(ip_network(entry, strict=False))
            except ValueError:
                if "/" in entry or ":" in entry:
                    expected = "expected host names, addresses or networks (10.0.0.0/8)"
                    raise ValueError(f"{expected}, got {entry!r}") from None
                names.add(entry.rstrip("."))
        return cls(frozenset(names), tuple(networks))

    def __str__(self) -> str:
        return ",".join([*sorted(self.names), *map(str, self.networks)])

    def check(self, host: str, addresses: Iterable[Address]) -> None:
        """Check that webhooks may go to a host with these addresses.

        Raises:
            Forbidden: one of the addresses is neither public nor allowed.
        """
        if host in self.names:
            return
        for address in addresses:
            is_named = any(address in network for network in self.networks)
            if not is_named and not _is_public(address):
                detail = f"expected a public address, got {address} for {host}"
                raise Forbidden(f"{detail}. WEBHOOK_ALLOW can allow this address.")


def check_url(text: str, allowed: Allowed) -> SplitResult:
    """Parse and check a webhook's URL.

    Raises:
        Forbidden: the URL's host is an address that is neither public nor allowed.
        ValueError: the text is not a plain http or https URL.
    """
    if len(text) > MAX_URL or any(not "!" <= each <= "~" for each in text):
        raise ValueError(f"expected a URL of at most {MAX_URL} printable ASCII characters")
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:
        raise ValueError(f"expected https://host/path, got {text[:80]!r}")
    if (url.username, url.password, url.fragment) != (None, None, ""):
        raise ValueError("expected a URL without user, password and fragment")
    host = url.hostname.rstrip(".")
    allowed.check(host, _literal(host))
    return url


def _literal(host: str) -> list[Address]:
    """Return a list with the host's IP address if the host is 'localhost' or an IP address.

    An IP address may have an unusual form such as 0x7f.1. For any other host, the list is empty.
    """
    if host == "localhost" or host.endswith(".localhost"):
        return [IPv4Address("127.0.0.1")]
    try:
        return [ip_address(host)]
    except ValueError:
        pass
    try:
        return [IPv4Address(socket.inet_aton(host))]
    except (OSError, ValueError):
        return []


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            embedded = IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return _is_public(embedded)
    return address.is_global and not address.is_multicast
