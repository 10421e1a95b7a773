"""How API keys and rate limits may be written, and that no message tells a key."""

import hashlib
from pathlib import Path

import pytest

from gateway.startup_checks import api_keys, check
from shared.settings import Settings, SettingsError, unknown_names

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"
HASH = hashlib.sha256(KEY.encode()).hexdigest()
REDIS = {"REDIS_URL": "redis://named-not-reached"}


def names(text: str) -> list[str]:
    return [key.name for key in Settings.from_environ({"API_KEYS": text}).api_keys]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (KEY, f"key-{HASH[:12]}"),
        (f"phone:{KEY}", "phone"),
        (f"sha256:{HASH}", f"key-{HASH[:12]}"),
        (f"phone:sha256:{HASH.upper()}", "phone"),
    ],
)
def test_a_key_is_kept_as_its_digest_under_a_name(text: str, name: str) -> None:
    (key,) = Settings.from_environ({"API_KEYS": text}).api_keys
    assert (key.name, key.digest.hex()) == (name, HASH)


def test_several_keys_are_separated_by_commas() -> None:
    assert names(f" a:{KEY}, b:{OTHER} ,") == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{KEY},secret-of-15-ch", "key 2: expected 16 or more characters, got 15"),
        ("sha256:0123456789abcdef", "expected KEY, NAME:KEY"),
        ("phone:sha256:0123456789abcdef", "expected KEY, NAME:KEY"),
        ("contraseña-muy-secreta", "expected KEY, NAME:KEY"),
        ("two words of a secret", "expected KEY, NAME:KEY"),
        (":0123456789abcdef", "expected KEY, NAME:KEY"),
        (" , ,", "expected at least one key"),
    ],
)
def test_a_key_that_does_not_do_is_refused_and_not_told(text: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"API_KEYS": text})
    message = str(caught.value)
    assert message.startswith("API_KEYS: ") and reason in message
    assert not any(len(part) > 8 and part in message for part in text.split(","))


def test_neither_keys_nor_digests_stand_in_a_repr() -> None:
    settings = Settings.from_environ({"API_KEYS": f"phone:{KEY}"})
    shown = f"{settings!r} {settings.api_keys!r}"
    digest = settings.api_keys[0].digest
    assert not any(secret in shown for secret in (KEY, HASH, repr(digest)[2:-1]))
    assert "api_keys=" not in repr(settings)


def test_a_file_holds_a_key_a_line_with_comments(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\nphone:{KEY}  # the app\nweb:sha256:{HASH[::-1]}\n")
    keys = api_keys(Settings.from_environ({"API_KEYS": f"x:{OTHER}", "API_KEYS_FILE": str(file)}))
    assert [key.name for key in keys] == ["x", "phone", "web"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"# none yet\n", "expected at least one key", id="only comments"),
        pytest.param(b"\n# one\nphone:short\n", "line 3: expected 16 or more characters, got 5", id="weak"),
        pytest.param(b"\xff\xfe0123456789abcdef", "not UTF-8", id="not text"),
        pytest.param(None, "No such file", id="missing"),
    ],
)
def test_a_file_that_does_not_do_stops_the_start(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"API_KEYS_FILE: .*'{file}': .*{reason}"):
        check(Settings.from_environ(REDIS | {"API_KEYS_FILE": str(file)}))


def test_the_same_key_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="twice"):
        check(Settings.from_environ(REDIS | {"API_KEYS": f"a:{KEY},b:sha256:{HASH}"}))


@pytest.mark.parametrize("limit", ["100/minute", "10/second;1000/hour", "5 per 10 seconds, 1/day"])
def test_a_rate_limit_may_be_written(limit: str) -> None:
    check(Settings.from_environ(REDIS | {"RATE_LIMIT": limit}))


@pytest.mark.parametrize(
    "limit", ["100", "0/minute", "5/second;0/hour", "1/fortnight", "-1/second", "1/day;"]
)
def test_a_rate_limit_may_not_be_written(limit: str) -> None:
    with pytest.raises(SettingsError, match=f"RATE_LIMIT: .*100/minute.*'{limit}'"):
        check(Settings.from_environ(REDIS | {"RATE_LIMIT": limit}))


@pytest.mark.parametrize("name", ["API_KEY", "RATE_LIMITS"])
def test_a_misspelt_guard_is_warned_about(name: str) -> None:
    assert "did you mean" in unknown_names({name: "x"})[0]
