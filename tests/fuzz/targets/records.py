"""Records in Redis, as anyone with access to Redis may write them: a byte selects the reader of the others.

With any bytes, a worker ends the job with a reason and a gateway answers.
"""

import contextlib
import json
import zlib

from shared.job import Options
from shared.queue.messages import Claim
from shared.queue.wire import STATE_FIELDS, read_claim, read_reply, read_state

OPTIONS = {"regions": [[0, 0, 5], [1, 2, 3]], "top_n": 5, "consolidate": True}
CALL = json.dumps(["worker.task.classify", None, [], OPTIONS]).encode()
REPLY = {
    "id": "x",
    "result": {"regions": [{"region": None, "predictions": []}]},
    "timing": {"queue": 1.5},
}
# For these errors a gateway answers with 500 and logs the reason; its listener continues.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
SEEDS = [
    b"\0" + zlib.compress(CALL),
    b"\1" + CALL,
    b"\1" + CALL.replace(b"5", b"1e999"),
    b"\2job\nrequest",
    b"\3" + json.dumps(REPLY).encode(),
    b"\3" + json.dumps({"id": "x", "failure": {"code": "image-damaged", "detail": "y"}}).encode(),
    b"\4" + b"finished\nbulk\n2026-01-01T00:00:00Z\n\n\n1\nhit\n\n",
]
WORDS = [
    b'"regions":',
    b'"top_n":',
    b"worker.task.classify",
    b"1e999",
    b"NaN",
    b"null",
    b"[",
    b"]",
    b'"failure":',
    b"\n",
]


def claim(data: bytes) -> Claim:
    return Claim("bulk", "id", "execution", data, None, 1, "", 0.0)


def _options(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        options = claim(data).options()
        assert options == Options.from_json(options.to_json())
        assert options.top_n >= 1 and options.inputs >= 1


def _claim(data: bytes) -> None:
    """Read a claim. The Lua script computes its numbers, so they are not fuzzed."""
    fields = [*data.split(b"\n"), b"", b""]
    read = read_claim("bulk", [fields[0], b"execution", data, b"-1.5", 2, fields[1], b"0.1", b""])
    assert read.data == data


def _reply(data: bytes) -> None:
    with contextlib.suppress(*UNREADABLE):
        read_reply(json.loads(data))


def _state(data: bytes) -> None:
    fields = [*data.split(b"\n"), *[b""] * len(STATE_FIELDS)][: len(STATE_FIELDS)]
    with contextlib.suppress(*UNREADABLE):
        read_state("id", list(fields), [])
        read_state("id", [*fields[:-1], b""], [(b"1-0", {b"return_value": data})])


READERS = (
    _options,
    lambda data: _options(zlib.compress(data)),
    _claim,
    _reply,
    _state,
)


def run(data: bytes) -> None:
    READERS[data[0] % len(READERS) if data else 0](data[1:])
