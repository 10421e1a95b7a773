"""Webhooks: which addresses may be told of a job's end, and RQ's job that tells them.

The gateway checks an address when a job is submitted, the sender again when its name is resolved.
"""

import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, urlsplit

QUEUE = "webhooks"
"""RQ's queue of deliveries."""

FUNCTION = "webhooks.deliver.deliver"

RETRY_SECONDS = (5, 30, 120, 300, 900, 1800, 3600, 7200, 14_400, 21_600, 36_000)
"""The pauses between twelve tries: a day in all."""

TIMEOUT = 20
"""Seconds for one try."""

RECORD: dict[str, Any] = {
    "status": "queued",
    "origin": QUEUE,
    "description": "tell a webhook of a job's end",
    "timeout": TIMEOUT,
    "result_ttl": 3600,
    "failure_ttl": 86_400,
    "retries_left": len(RETRY_SECONDS),
    "retry_intervals": json.dumps(RETRY_SECONDS),
}
"""The fields of a delivery's record, as RQ writes them; `lua/ended.lua` adds times and data."""

MAX_URL = 2048

_NAT64 = ip_network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


class Forbidden(ValueError):
    """An address that deliveries may not go to."""


@dataclass(frozen=True)
class Allowed:
    """What `WEBHOOK_ALLOW` names: hosts, addresses and networks that are no public ones and may be told."""

    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Allowed":
        """Read names, addresses and networks, separated by commas.

        Raises:
            ValueError: an entry is none of these.
        """
        names, networks = set(), []
        for entry in filter(None, (each.strip().lower() for each in text.split(","))):
            try:
                networks.append(ip_network(entry, strict=False))
            except ValueError:
                if "/" in entry or ":" in entry:
                    raise ValueError(f"{entry!r} is no host name, address or network (10.0.0.0/8)") from None
                names.add(entry.rstrip("."))
        return cls(frozenset(names), tuple(networks))

    def __str__(self) -> str:
        return ",".join([*sorted(self.names), *map(str, self.networks)])

    def check(self, host: str, addresses: Iterable[Address]) -> None:
        """See that a host with these addresses may be told.

        Raises:
            Forbidden: one of them is not public and not named.
        """
        if host in self.names:
            return
        for address in addresses:
            named = any(address in network for network in self.networks)
            if not named and not _is_public(address):
                raise Forbidden(
                    f"{host} is at {address}, which is not a public address; WEBHOOK_ALLOW can name it"
                )


def check_url(text: str, allowed: Allowed) -> SplitResult:
    """Parse a webhook's address.

    Raises:
        Forbidden: it names an address that is not public.
        ValueError: it is not a plain http or https address.
    """
    if len(text) > MAX_URL or any(not "!" <= each <= "~" for each in text):
        raise ValueError(f"it must be a URL of printable ASCII, of at most {MAX_URL} characters")
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:
        raise ValueError(f"{text[:80]!r} is not of the form https://host/path")
    if url.username is not None or url.password is not None or url.fragment:
        raise ValueError("a user, a password and a fragment have no place in it")
    host = url.hostname.rstrip(".")
    literal = _literal(host)
    if literal is not None:
        allowed.check(host, [literal])
    elif host == "localhost" or host.endswith(".localhost"):
        allowed.check(host, [IPv4Address("127.0.0.1")])
    return url


def _literal(host: str) -> Address | None:
    """The address that a host spells out, also in the forms that only the C library reads (0x7f.1)."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast
