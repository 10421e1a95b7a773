"""API keys as they are written in settings: KEY, NAME:KEY, or a hash in the key's place, [NAME:]sha256:HEX.

Whatever the form, only the digest is kept. No message here holds a part of what was written.
"""

import hashlib
import re
from dataclasses import dataclass, field

MIN_CHARACTERS = 16

_FORM = re.compile(
    r"(?:(?!sha256:)(?P<name>[\w.-]{1,64}):)?"
    # A key's alphabet is that of the Authorization header (RFC 6750), so it has no colon and no comma.
    r"(?:sha256:(?P<hash>[0-9a-f]{64})|(?P<key>[\w.~+/-]+=*))",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class ApiKey:
    """A caller's key. Keys that share a name are one caller: that is how a key is replaced by a new one."""

    name: str
    digest: bytes = field(repr=False)


def digest(key: str) -> bytes:
    """What is kept of a key, and compared."""
    return hashlib.sha256(key.encode()).digest()


def parse_keys(entries: list[str], word: str) -> tuple[ApiKey, ...]:
    """Read the entries; empty ones are skipped, and `word` is what an entry is called in a message.

    Raises:
        ValueError: an entry is not of the form, or its key is weak, or there is none.
    """
    keys = []
    for number, entry in enumerate(entries, 1):
        try:
            keys += [_parse(entry.strip())] if entry.strip() else []
        except ValueError as error:
            raise ValueError(f"{word} {number}: {error}") from None
    if not keys:
        raise ValueError("it holds no key")
    return tuple(keys)


def _parse(entry: str) -> ApiKey:
    found = _FORM.fullmatch(entry)
    if found is None:
        raise ValueError(
            "it takes KEY, NAME:KEY, sha256:HEX or NAME:sha256:HEX (a key and a name are of ASCII letters, "
            "digits, - . _, a key also of ~ + / and = at its end; HEX has 64 digits)"
        )
    key = found["key"]
    if key and len(key) < MIN_CHARACTERS:
        raise ValueError(
            f"a key of {len(key)} characters can be guessed, and it takes {MIN_CHARACTERS} or more; "
            "make one with: openssl rand -hex 32"
        )
    kept = digest(key) if key else bytes.fromhex(found["hash"])
    return ApiKey(found["name"] or f"key-{kept.hex()[:12]}", kept)
