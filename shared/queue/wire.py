"""Converts Python objects to records in Redis, and records to Python objects.

Jobs are stored in RQ 3's format.

docs/protocol.md documents the Redis keys.
"""

import hashlib
import json
import math
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from shared import webhook
from shared.job import JobFailure, Options
from shared.queue.messages import Claim, EncodedReply, JobState, NewJob, Reply, Settlement
from shared.queue.rq_call import encode_call
from shared.settings import Settings

MAX_SMALL_IMAGE = 65_536
"""Maximum size of an image that a Lua script receives or returns together with its job, in bytes.

The gateway stores a larger image with a separate Redis command. The worker fetches a larger image with
another command."""

ENDED = ("finished", "failed", "canceled", "expired", "stopped")
"""The statuses that RQ gives to ended jobs."""

JOB_TIMEOUT = 600
"""The field `timeout` of RQ's job record, in seconds.

Workers ignore this field, because each running job has a lease."""

STATE_FIELDS = (
    *("status", "origin", "enqueued_at", "started_at", "ended_at"),
    *("attempts", "cache", "owner", "error"),
)

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def digest(image: bytes, options: Options, model: Mapping[str, Any], owner: str = "") -> str:
    """Return a hash of a job's owner, image, options, model and thresholds.

    Jobs with the same hash share one answer.
    """
    served = [model["id"], model["fingerprint"], model["thresholds"]]
    request = json.dumps([options.to_json(), served, owner], sort_keys=True).encode()
    # Request and image are hashed separately, because different pairs can have the same concatenation.
    whole = hashlib.sha256(hashlib.sha256(request).digest() + hashlib.sha256(image).digest())
    return f"{model['id']}:{whole.hexdigest()}"


def common_fields(settings: Settings) -> list[Any]:
    """Return the fields and values of RQ's job record that are the same for every job."""
    record = {
        "status": "queued",
        "timeout": JOB_TIMEOUT,
        "result_ttl": settings.result_ttl,
        "failure_ttl": settings.result_ttl,
        # `rq info` runs RQ's own cleanup, which requeues a dead worker's job while this number is above 0.
        "retries_left": settings.job_max_attempts - 1,
    }
    return [*chain.from_iterable(record.items())]


def job_fields(job: NewJob) -> list[Any]:
    """Return the fields and values of RQ's job record that differ from job to job."""
    data, description = encode_call(job.options)
    args = ["data", data, "description", description, "inputs", job.options.inputs]
    args += ["request_id", job.request_id, "reply_to", job.reply_to]
    if job.owner:
        args += ["owner", job.owner]
    if job.webhook:
        # When the job ends, `lua/end_job.lua` makes RQ's job for the webhook from this template.
        record = [*chain.from_iterable(webhook.RECORD.items())]
        template = {"url": job.webhook, "function": webhook.FUNCTION, "record": record}
        args += ["webhook", json.dumps(template)]
    return args


def settle_args(settlement: Settlement) -> tuple[Any, ...]:
    """Convert the end of one job to arguments for the function `settle` in `lua/settle.lua`."""
    claim, reply, keep_image = settlement
    result = reply.result if isinstance(reply, EncodedReply) else _json(reply.result)
    timing, error = _json(reply.timing), "null"
    if reply.failure is None:
        code, value = "", b64encode(f'{{"result":{result},"timing":{timing}}}'.encode())
    else:
        code, error, value = reply.failure.code, _json(reply.failure.to_json()), exc_string(reply.failure)
    ids = (claim.queue, claim.job_id, claim.execution)
    return (*ids, code, result, timing, error, value, int(keep_image))


def rq_time() -> str:
    """Return the current time in the format of RQ's records. The format is an ISO 8601 text in UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def exc_string(failure: JobFailure) -> bytes:
    """Return a job's failure as bytes, in the format that RQ uses to store an exception's text."""
    return b64encode(zlib.compress(f"{failure.code}: {failure.detail}".encode()))


def read_claim(queue: str, row: list[Any]) -> Claim:
    """Read one claimed job from the result of `lua/claim.lua`."""
    job_id, execution, data, left, attempt, request_id, waited, image = row
    job, request = job_id.decode(errors="replace"), request_id.decode(errors="replace")
    seconds_left = float(left) if left else None
    lease = (queue, job, execution.decode(), data, seconds_left, int(attempt))
    return Claim(*lease, request, float(waited), image or None)


def read_reply(message: dict[str, Any]) -> Reply:
    """Read a reply that `lua/end_job.lua` pushed to a gateway's reply list."""
    failure = message.get("failure")
    reason = JobFailure(failure["code"], failure["detail"]) if failure else None
    return Reply(message["id"], message.get("result"), reason, message.get("timing") or {})


def read_state(job_id: str, values: list[bytes | None], entries: list[Any] | None) -> JobState:
    """Return a job's state.

    `values` has the values of the job's fields `STATE_FIELDS`. `entries` has RQ's latest result of the job.
    """
    status, queue, submitted, started, ended, attempts, cache, _, error = (
        (each or b"").decode() for each in values
    )
    reply = _ended(job_id, error, entries) if status in ENDED else None
    status, tries = _visible_status(status, reply), int(read_number(attempts, 0))
    return JobState(job_id, status, queue, submitted, started or None, ended or None, tries, cache, reply)


def _visible_status(status: str, reply: Reply | None) -> str:
    if status == "deferred":
        return "queued"  # RQ's status "deferred": the job waits for an equal job's answer
    if reply and reply.failure and reply.failure.code == "expired":
        return "expired"  # RQ has no status 'expired', so an expired job has RQ's status 'failed'
    return status


def _ended(job_id: str, error: str, entries: list[Any] | None) -> Reply:
    if error:
        return read_reply({"id": job_id, "failure": json.loads(error)})
    value = entries[0][1].get(b"return_value") if entries else None
    if value is None:  # when one of RQ's tools ends a job, the field `error` is missing
        return Reply(job_id, failure=JobFailure("attempts-exhausted", "RQ's own cleanup ended the job"))
    return read_reply({"id": job_id, **json.loads(b64decode(value))})


def read_number(text: bytes | str | None, default: float) -> float:
    """Convert a text to a number. If the text is no finite number, return the default."""
    try:
        number = float(text or default)
    except ValueError:
        return default
    return number if math.isfinite(number) else default
