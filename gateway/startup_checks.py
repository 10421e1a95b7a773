"""Checks `REDIS_URL` and the settings that only the gateway uses: API keys and rate limit.

This module does not import Flask, so that gunicorn's configuration can use it before the app is loaded.
"""

from pathlib import Path

from shared.api_keys import ApiKey, parse_keys
from shared.settings import Settings, SettingsError, redis_url


def check(settings: Settings) -> None:
    """Check that the gateway can start with these settings.

    Raises:
        SettingsError: a setting is invalid. The exception's text names the setting and the reason.
    """
    redis_url(settings)
    api_keys(settings)
    check_rate_limit(settings)


def api_keys(settings: Settings) -> tuple[ApiKey, ...]:
    """Return the API keys in the settings API_KEYS and API_KEYS_FILE.

    Raises:
        SettingsError: API_KEYS_FILE is unreadable, an API key is invalid, or an API key appears twice.
    """
    path = settings.api_keys_file
    keys = settings.api_keys + (_keys_of_file(path) if path else ())
    if len({key.digest for key in keys}) < len(keys):
        raise SettingsError(
            "API_KEYS, API_KEYS_FILE: expected each key once, got a key twice. Remove one copy."
        )
    return keys


def _keys_of_file(path: Path) -> tuple[ApiKey, ...]:
    try:
        lines = [line.partition("#")[0] for line in path.read_text("utf-8").split("\n")]
        return parse_keys(lines, "line")
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    except OSError as error:
        reason = f"it can't be read: {error.strerror}"
    except ValueError as error:
        reason = str(error)
    raise SettingsError(f"API_KEYS_FILE: expected a file with one key per line, got {str(path)!r}: {reason}")


def check_rate_limit(settings: Settings) -> None:
    """Check that Flask-Limiter can parse the setting RATE_LIMIT.

    Raises:
        SettingsError: RATE_LIMIT is malformed, or its number of requests is 0.
    """
    if settings.rate_limit is None:
        return
    # The package `limits` needs 1 MB of memory and loads asyncio, so it is imported only for a rate limit.
    from limits import parse_many

    try:
        is_valid = all(limit.amount > 0 for limit in parse_many(settings.rate_limit))
    except ValueError:
        is_valid = False
    if not is_valid:
        raise SettingsError(
            "RATE_LIMIT: expected limits such as 100/minute, 5 per 10 seconds or 10/second;1000/hour, "
            f"got {settings.rate_limit!r}. Use amounts of at least 1, and one of the units second, minute, "
            "hour, day, month and year."
        )
