"""API keys in settings: KEY, NAME:KEY, or a hash instead of the key, [NAME:]sha256:HEX.

Only the digest of a key is kept. No message here contains a part of an entry.
"""

import hashlib
import re
from dataclasses import dataclass, field

MIN_CHARACTERS = 16
"""Minimum length of a key, in characters."""

_FORM = re.compile(
    r"(?:(?!sha256:)(?P<name>[\w.-]{1,64}):)?"
    # Keys have the alphabet of the Authorization header (RFC 6750), so they contain no colon and no comma.
    r"(?:sha256:(?P<hash>[0-9a-f]{64})|(?P<key>[\w.~+/-]+=*))",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class ApiKey:
    """A caller's key. Keys with the same name belong to one caller, so a new key can replace an old key."""

    name: str
    digest: bytes = field(repr=False)


def digest(key: str) -> bytes:
    """The SHA-256 of a key: only digests are kept and compared."""
    return hashlib.sha256(key.encode()).digest()


def parse_keys(entries: list[str], noun: str) -> tuple[ApiKey, ...]:
    """Parse the entries that are not empty; messages call an entry `noun` and its number.

    Raises:
        ValueError: an entry has another form, its key is too short, or there is no key.
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
            "expected KEY, NAME:KEY, sha256:HEX or NAME:sha256:HEX (keys and names: ASCII letters, digits, "
            "- . _; in keys also ~ + / and = at the end; HEX: 64 digits)"
        )
    key = found["key"]
    if key and len(key) < MIN_CHARACTERS:
        raise ValueError(
            f"expected {MIN_CHARACTERS} or more characters, got {len(key)} (make a key: openssl rand -hex 32)"
        )
    kept = digest(key) if key else bytes.fromhex(found["hash"])
    return ApiKey(found["name"] or f"key-{kept.hex()[:12]}", kept)
