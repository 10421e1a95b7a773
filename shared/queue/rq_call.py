"""RQ's compressed form of a job's function call: the function's name and the caller's options."""

import json
import zlib
from functools import lru_cache

from shared.job import Options

FUNCTION = "worker.task.classify"
"""The function name in every job's record. The worker runs its own code whatever a record names."""

MAX_CALL_BYTES = 2**20
"""Maximum size of a job's uncompressed call, in bytes.

A call with ten thousand regions needs a third of this size."""

MAX_CACHED_BYTES = 256
"""Maximum size of a compressed call whose decoded options are cached in memory, in bytes."""


@lru_cache(maxsize=256)
def encode_call(options: Options) -> tuple[bytes, str]:
    """Return RQ's compressed form of a job's call, and the job's description for RQ's tools."""
    data = zlib.compress(json.dumps([FUNCTION, None, [], options.to_json()]).encode())
    return data, f"classify {options.inputs} input(s), top {options.top_n}"


def decode_call(data: bytes) -> Options:
    """Return the options in a job's compressed call.

    Raises:
        ValueError: the record is not a job of this service.
    """
    return _cached_options(data) if len(data) < MAX_CACHED_BYTES else _options(data)


def _options(data: bytes) -> Options:
    try:
        # The output is bounded, because a compressed kilobyte can unpack to a megabyte.
        call = zlib.decompressobj().decompress(data, MAX_CALL_BYTES)
        function, _, _, kwargs = json.loads(call)
    except (ValueError, TypeError, RecursionError, zlib.error) as error:
        raise ValueError(f"not a job of this service: {error}") from None
    if function != FUNCTION or not isinstance(kwargs, dict):
        raise ValueError(f"not a job of this service: it names the function {str(function)[:80]!r}")
    return Options.from_json(kwargs)


_cached_options = lru_cache(maxsize=16)(_options)
"""Most callers send equal options, so this function caches the options that it decodes.

The cache has few entries, because 256 compressed bytes can unpack to ten thousand regions."""
