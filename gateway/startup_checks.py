"""Settings that only the gateway can check, with files and a library that a worker need not have.

Without Flask, so that gunicorn's configuration can end a wrong start before the app is made.
"""

from pathlib import Path

from shared.api_keys import ApiKey, parse_keys
from shared.settings import Settings, SettingsError, redis_url


def check(settings: Settings) -> None:
    """See that the gateway could serve with these.

    Raises:
        SettingsError: it couldn't; the message says why.
    """
    redis_url(settings)
    api_keys(settings)
    check_rate_limit(settings)


def api_keys(settings: Settings) -> tuple[ApiKey, ...]:
    """The keys of the variable and of the file; none where neither is set.

    Raises:
        SettingsError: the file can't be read or holds no proper keys, or a key appears twice.
    """
    path = settings.api_keys_file
    keys = settings.api_keys + (_keys_of_file(path) if path else ())
    if len({key.digest for key in keys}) < len(keys):
        raise SettingsError("API_KEYS and API_KEYS_FILE: a key appears twice")
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
    raise SettingsError(f"API_KEYS_FILE={str(path)!r} is not allowed: {reason}")


def check_rate_limit(settings: Settings) -> None:
    """See that the rate limit is written as Flask-Limiter reads it.

    Raises:
        SettingsError: it isn't.
    """
    if settings.rate_limit is None:
        return
    from limits import parse_many  # 1 MB and asyncio, for nothing where there is no limit

    try:
        is_allowed = all(limit.amount > 0 for limit in parse_many(settings.rate_limit))
    except ValueError:
        is_allowed = False
    if not is_allowed:
        raise SettingsError(
            f"RATE_LIMIT={settings.rate_limit!r} is not allowed: it takes limits of 1 or more such as "
            "100/minute, 5 per 10 seconds, or 10/second;1000/hour "
            "(units: second, minute, hour, day, month, year)"
        )
