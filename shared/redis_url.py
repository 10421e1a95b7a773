"""Parses `REDIS_URL`, the address of one Redis server or of the Sentinels that know the current master.

This module must not import redis-py. All programs read the settings, also gunicorn's first process and the
command line, which need neither redis-py nor its memory.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

_OPTIONS = frozenset(
    (
        *("db", "protocol", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_check_hostname"),
        *("ssl_cert_reqs", "ssl_ciphers", "ssl_keyfile", "ssl_password"),
    )
)
_SENTINEL_OPTIONS = frozenset(("sentinel_username", "sentinel_password"))
_SENTINEL_SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_SENTINEL_PATH = re.compile(r"(?P<service>[A-Za-z0-9._-]+)(/(?P<db>\d{0,4}))?")
"""The pattern of a Sentinel URL's path. The path consists of a service name and a database number.

In a service name, Redis Sentinel allows only the characters of this pattern."""

DEFAULT_SENTINEL_PORT = 26379

EXPECTED = (
    "expected redis://[[USER]:PASSWORD@]HOST:PORT/DB, rediss://… (TLS), unix://[:PASSWORD@]/PATH, or "
    "redis+sentinel://[[USER]:PASSWORD@]HOST:PORT,HOST:PORT/SERVICE/DB (with TLS: rediss+sentinel://…), "
    f"with these options after a ?: {', '.join(sorted(_OPTIONS))}; for Sentinels also "
    f"{', '.join(sorted(_SENTINEL_OPTIONS))} (the value is not shown; write a / in a password as %2F)"
)


@dataclass(frozen=True)
class SentinelUrl:
    """The parts of a Redis URL `redis+sentinel://…`.

    `server` is the URL in the form for a single Redis server. The host in `server` is the Sentinel service's
    name. The login, database and options in `server` have the same meaning as for a single server.
    """

    sentinels: tuple[tuple[str, int], ...]
    service: str
    server: str = field(repr=False)
    login: dict[str, str] = field(repr=False)
    """The login to the Sentinels. The dictionary can contain `username` and `password`."""

    @classmethod
    def parse(cls, text: str) -> "SentinelUrl":
        """Split a Sentinel URL into its parts.

        Raises:
            ValueError: the URL is malformed. The message may contain a part of the URL.
        """
        scheme, _, rest = text.partition("://")
        rest, _, query = rest.partition("?")
        authority, _, path = rest.partition("/")
        login, at, hosts = authority.rpartition("@")
        found = _SENTINEL_PATH.fullmatch(path)
        if not found or "@" in login:
            raise ValueError(path)
        options = _options(query)
        own = {name.removeprefix("sentinel_"): options.pop(name) for name in _SENTINEL_OPTIONS & set(options)}
        server = f"{_SENTINEL_SCHEMES[scheme]}://{login}{at}{found['service']}/{found['db'] or 0}"
        server += f"?{urlencode(options)}" if options else ""
        return cls(tuple(map(_host, hosts.split(","))), found["service"], check_redis_url(server), own)


def is_sentinel(url: str) -> bool:
    """Return True if the URL is an address of Sentinels. Otherwise, return False."""
    return url.partition("://")[0] in _SENTINEL_SCHEMES


def check_redis_url(text: str) -> str:
    """Return `text` if it is a valid `REDIS_URL`.

    Raises:
        ValueError: the URL is invalid. The message contains no part of the URL, because the URL may contain a
        password.
    """
    try:
        if is_sentinel(text):
            SentinelUrl.parse(text)
            return text
        url = urlsplit(text)
        is_valid = url.scheme in ("redis", "rediss", "unix") and (url.port or 1) > 0
        is_valid &= bool(url.path if url.scheme == "unix" else url.netloc) and not url.fragment
        is_valid &= _options(url.query).keys() <= _OPTIONS
    except ValueError:  # the message of the original exception may contain a part of the password
        is_valid = False
    if not is_valid:
        raise ValueError(EXPECTED)
    return text


def _options(query: str) -> dict[str, str]:
    options = parse_qs(query, keep_blank_values=True, strict_parsing=True) if query else {}
    if not {"none", "required"} >= {*options.get("ssl_cert_reqs", ())}:
        raise ValueError("ssl_cert_reqs")
    return {name: values[0] for name, values in options.items()}


def _host(text: str) -> tuple[str, int]:
    url = urlsplit(f"//{text.strip()}")
    if not url.hostname or url.path or url.fragment or url.port == 0:
        raise ValueError(text)
    return unquote(url.hostname), url.port or DEFAULT_SENTINEL_PORT
