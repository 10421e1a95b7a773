"""API keys in settings: KEY, NAME:KEY, or with a hash instead of the key, [NAME:]sha256:HEX.

Only a key's digest is kept. No message contains a part of an entry.
"""

import hashlib
import re
from dataclasses import dataclass, field

MIN_CHARACTERS = 16
"""Minimum length of a key, in characters."""

_FORM = re.compile(
    r"(?:(?!sha256:)(?P<name>[\w.-]{1,64}):)?"
    # The Authorization header (RFC 6750) allows these characters in a key: no colon and no comma.
    r"(?:sha256:(?P<hash>[0-9a-f]{64})|(?P<key>[\w.~+/-]+=*))",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class ApiKey:
    """A caller's key. Keys of one name belong to one caller, who can replace an old key by a new one."""

    name: str
    digest: bytes = field(repr=False)


def digest(key: str) -> bytes:
    """Return a key's digest, which is stored and compared instead of the key."""
    return hashlib.sha256(key.encode()).digest()


def parse_keys(entries: list[str], noun: str) -> tuple[ApiKey, ...]:
    """Read the entries and skip empty entries; messages call an entry `noun` and its number.

    Raises:
        ValueError: an entry has another form, a key is too short, or there is no key.
    """
    keys = []
    for number, entry in enumerate(map(str.strip, entries), 1):
        try:
            keys += [_parse(entry)] if entry else []
        except ValueError as error:
            raise ValueError(f"{noun} {number}: {error}") from None
    if not keys:
        raise ValueError("expected at least one key, got none")
    return tuple(keys)


def _parse(entry: str) -> ApiKey:
    found = _FORM.fullmatch(entry)
    if found is None:
        raise ValueError(
            "expected KEY, NAME:KEY, sha256:HEX or NAME:sha256:HEX. Keys and names may have ASCII letters, "
            "digits and - . _, and keys also ~ + / and = at the end. HEX has 64 digits."
        )
    key = found["key"]
    if key and len(key) < MIN_CHARACTERS:
        expected = f"expected a key of at least {MIN_CHARACTERS} characters, got {len(key)}"
        raise ValueError(f"{expected}. Make a key with: openssl rand -hex 32")
    kept = digest(key) if key else bytes.fromhex(found["hash"])
    return ApiKey(found["name"] or f"key-{kept.hex()[:12]}", kept)
