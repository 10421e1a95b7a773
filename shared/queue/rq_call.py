"""Encodes a job's function name and options in the compressed form that RQ uses for function calls."""

import json
import zlib
from functools import lru_cache

from shared.job import Options

FUNCTION = "worker.task.classify"
"""The function name in every job's record. The worker refuses records that name another function."""

MAX_CALL_BYTES = 2**20
"""Maximum size of a job's decompressed function call, in bytes.

A function call with ten thousand regions needs a third of this size."""

MAX_CACHED_BYTES = 256
"""Maximum size of a compressed function call whose options are cached, in bytes."""


@lru_cache(maxsize=256)
def encode_call(options: Options) -> tuple[bytes, str]:
    """Return a job's function call in RQ's compressed form, and the job's description for RQ's tools."""
    data = zlib.compress(json.dumps([FUNCTION, None, [], options.to_json()]).encode())
    return data, f"classify {options.inputs} input(s), top {options.top_n}"


def decode_call(data: bytes) -> Options:
    """Return the options in a job's compressed function call.

    Raises:
        ValueError: the job's record is invalid.
    """
    return _cached_options(data) if len(data) < MAX_CACHED_BYTES else _options(data)


def _options(data: bytes) -> Options:
    try:
        # Limit the decompressed size, because a compressed kilobyte can unpack to a megabyte.
        call = zlib.decompressobj().decompress(data, MAX_CALL_BYTES)
        function, _, _, kwargs = json.loads(call)
    except (ValueError, TypeError, RecursionError, zlib.error) as error:
        raise ValueError(f"invalid job record: expected compressed JSON: {error}") from None
    if function != FUNCTION or not isinstance(kwargs, dict):
        raise ValueError(
            f"invalid job record: expected options for {FUNCTION!r}, got a call of {str(function)[:80]!r}"
        )
    return Options.from_json(kwargs)


_cached_options = lru_cache(maxsize=16)(_options)
"""Decodes a function call's options. The options are cached, because most callers send equal options.

A compressed function call of 256 bytes can contain ten thousand regions. Therefore the cache of decoded
options has few entries.
"""
