"""Parses the API keys in a setting.

Each API key is written as KEY, NAME:KEY, sha256:HEX or NAME:sha256:HEX.

The service keeps only the SHA-256 hash of each key in memory. No error message contains a part of a key.
"""

import hashlib
import re
from dataclasses import dataclass, field

MIN_CHARACTERS = 16
"""Minimum length of an API key, in characters."""

_FORM = re.compile(
    r"(?:(?!sha256:)(?P<name>[\w.-]{1,64}):)?"
    # RFC 6750 defines the characters of a key in an Authorization header; colon and comma are not among them.
    r"(?:sha256:(?P<hash>[0-9a-f]{64})|(?P<key>[\w.~+/-]+=*))",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class ApiKey:
    """An API key.

    API keys with the same name belong to the same caller. A caller who replaces a key can therefore use the
    old key and the new key at the same time.
    """

    name: str
    digest: bytes = field(repr=False)


def digest(key: str) -> bytes:
    """Return the SHA-256 hash of an API key. The service stores and compares only the hashes of API keys."""
    return hashlib.sha256(key.encode()).digest()


def parse_keys(entries: list[str], noun: str) -> tuple[ApiKey, ...]:
    """Parse API keys and skip empty entries.

    An error message identifies a key by `noun` and the key's position. If `noun` is "line", a
    message about the third key contains "line 3".

    Raises:
        ValueError: an API key is malformed or too short, or `entries` contains no API key.
    """
    keys = []
    for number, entry in enumerate(entries, 1):
        try:
            keys += [_parse(entry.strip())] if entry.strip() else []
        except ValueError as error:
            raise ValueError(f"{noun} {number}: {error}") from None
    if not keys:
        raise ValueError("expected at least one key, got none")
    return tuple(keys)


def _parse(entry: str) -> ApiKey:
    found = _FORM.fullmatch(entry)
    if found is None:
        raise ValueError(
            "expected KEY, NAME:KEY, sha256:HEX or NAME:sha256:HEX. Keys and names consist of ASCII letters, "
            "digits, '-', '.' and '_'. Keys may also contain '~', '+' and '/', and end with '='. "
            "HEX has 64 hexadecimal digits"
        )
    key = found["key"]
    if key and len(key) < MIN_CHARACTERS:
        raise ValueError(
            f"expected {MIN_CHARACTERS} or more characters, got {len(key)}. "
            "Make a key with `openssl rand -hex 32`"
        )
    kept = digest(key) if key else bytes.fromhex(found["hash"])
    return ApiKey(found["name"] or f"key-{kept.hex()[:12]}", kept)
