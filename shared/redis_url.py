"""What `REDIS_URL` may say: one server, or the Sentinels that know which server is the master.

Read without redis-py, which imports ssl: gunicorn reads settings before gevent takes its place.
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
"""Sentinel itself allows no other characters in a service's name."""

ALLOWED = (
    "it takes redis://[[USER]:PASSWORD@]HOST:PORT/DB, rediss://… (TLS), unix://[:PASSWORD@]/PATH, or "
    "redis+sentinel://[[USER]:PASSWORD@]HOST:PORT,HOST:PORT/SERVICE/DB (with TLS: rediss+sentinel://…), "
    f"and after a ? some of {', '.join(sorted(_OPTIONS))}, with Sentinels also "
    f"{', '.join(sorted(_SENTINEL_OPTIONS))}; a / in a password is written %2F"
)


@dataclass(frozen=True)
class SentinelUrl:
    """A `redis+sentinel://` address taken apart.

    `server` is the master's as a plain URL, with the service's name for a host: login, database and options
    mean what they mean for one server.
    """

    sentinels: tuple[tuple[str, int], ...]
    service: str
    server: str = field(repr=False)
    login: dict[str, str] = field(repr=False)
    """`username` and `password` of the Sentinels themselves, as far as they are set."""

    @classmethod
    def parse(cls, text: str) -> "SentinelUrl":
        """Take `text` apart.

        Raises:
            ValueError: it is no such address; the message may repeat a part of it.
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
    """Whether Sentinels are to be asked for the server."""
    return url.partition("://")[0] in _SENTINEL_SCHEMES


def check_redis_url(text: str) -> str:
    """Return `text` if it can be an address.

    Raises:
        ValueError: it can't; the message says what is allowed, and repeats nothing of what may be a password.
    """
    try:
        if is_sentinel(text):
            SentinelUrl.parse(text)
            return text
        url = urlsplit(text)
        is_right = url.scheme in ("redis", "rediss", "unix") and (url.port or 1) > 0
        is_right &= bool(url.path if url.scheme == "unix" else url.netloc) and not url.fragment
        is_right &= _options(url.query).keys() <= _OPTIONS
    except ValueError:  # its message repeats a part, and that may be of a password
        is_right = False
    if not is_right:
        raise ValueError(ALLOWED)
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
    return unquote(url.hostname), url.port or 26379
