"""The form of what stands in Redis: jobs as RQ 3 records them, and what is read from there.

`shared/queue/client.py` says where it stands; docs/protocol.md describes both.
"""

import hashlib
import json
import math
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shared import webhook
from shared.job import JobFailure, Options
from shared.queue.messages import Claim, JobState, NewJob, Reply
from shared.queue.rq_call import encode_call
from shared.settings import Settings

METRICS_KEY = "classification:figures"

SMALL_IMAGE = 65_536
"""Bytes up to which an image travels through the scripts, without a command of its own."""

ENDED = ("finished", "failed", "canceled", "expired", "stopped")
"""The statuses of a job that will not change any more."""

STUCK_TIMEOUT = 600
"""RQ's `timeout` of a job, in seconds; our leases are shorter, so only RQ's own tools read it."""


STATE_FIELDS = (
    *("status", "origin", "enqueued_at", "started_at", "ended_at"),
    *("attempts", "cache", "owner", "error"),
)


def settle_words(claim: Claim, reply: Reply, keep_image: bool) -> tuple[Any, ...]:
    """How an attempt ended, in the words that `lua/settle.lua` takes."""
    result, timing, error = _json(reply.result), _json(reply.timing), "null"
    if reply.failure is None:
        code, value = "", b64encode(f'{{"result":{result},"timing":{timing}}}'.encode())
    else:
        code, error, value = reply.failure.code, _json(reply.failure.to_json()), exc_string(reply.failure)
    ids = (claim.queue, claim.job_id, claim.execution)
    return (*ids, code, result, timing, error, value, int(keep_image))


def digest(image: bytes, options: Options, model: Mapping[str, Any], owner: str = "") -> str:
    """What is equal for jobs that share one answer: whose they are, the image, what is asked and served."""
    served = [model["id"], model["fingerprint"], model["thresholds"]]
    asked = json.dumps([options.to_json(), served, owner], sort_keys=True).encode()
    # The lengths of hashes are fixed, so no two inputs run into one another.
    whole = hashlib.sha256(hashlib.sha256(asked).digest() + hashlib.sha256(image).digest())
    return f"{model['id']}:{whole.hexdigest()}"


def shared_words(settings: Settings) -> list[Any]:
    """The fields of RQ's job record that are the same for every job."""
    record = {
        "status": "queued",
        "timeout": STUCK_TIMEOUT,
        "result_ttl": settings.result_ttl,
        "failure_ttl": settings.result_ttl,
        # RQ's cleanup, which `rq info` runs, must requeue a dead worker's job as ours does.
        "retries_left": settings.job_max_attempts - 1,
    }
    return [word for pair in record.items() for word in pair]


def job_words(job: NewJob) -> list[Any]:
    """The fields of RQ's job record that are this job's own."""
    data, description = encode_call(job.options)
    words = ["data", data, "description", description, "inputs", job.options.inputs]
    words += ["request_id", job.request_id, "reply_to", job.reply_to]
    if job.owner:
        words += ["owner", job.owner]
    if job.webhook:
        words += ["webhook", json.dumps(_webhook(job))]
    return words


def _webhook(job: NewJob) -> dict[str, Any]:
    """What `lua/ended.lua` needs to queue RQ's job that tells the address."""
    words = [word for pair in webhook.RECORD.items() for word in pair]
    return {"url": job.webhook, "function": webhook.FUNCTION, "record": words}


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""`json.dumps` would make an encoder each time."""


def rq_time() -> str:
    """Now, in the form of RQ's records."""
    return datetime.now(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def exc_string(failure: JobFailure) -> bytes:
    """A failure as RQ keeps the text of an exception."""
    return b64encode(zlib.compress(f"{failure.code}: {failure.detail}".encode()))


def read_reply(message: dict[str, Any]) -> Reply:
    """Read what `lua/ended.lua` pushes to those that wait."""
    failure = message.get("failure")
    return Reply(
        message["id"],
        message.get("result"),
        JobFailure(failure["code"], failure["detail"]) if failure else None,
        message.get("timing") or {},
    )


def read_state(job_id: str, fields: list[bytes | None], entries: list[Any]) -> JobState:
    """Read a job's `STATE_FIELDS` and the latest entry of its results."""
    status, queue, submitted, started, ended, attempts, cache, *_ = (
        (each or b"").decode() for each in fields
    )
    if status == "deferred":
        status = "queued"  # RQ's word for a job that waits for another
    reply = _ended(job_id, fields[-1], entries) if status in ENDED else None
    if reply is not None and reply.failure is not None and reply.failure.code == "expired":
        status = "expired"  # RQ has no such status: to it, the job failed
    return JobState(
        *(job_id, status, queue, submitted, started or None, ended or None),
        *(int(read_number(attempts, 0)), cache, reply),
    )


def read_number(text: bytes | str | None, otherwise: float) -> float:
    """Read a number that can be counted with, or return `otherwise`."""
    try:
        number = float(text or otherwise)
    except ValueError:
        return otherwise
    return number if math.isfinite(number) else otherwise


def _ended(job_id: str, error: bytes | None, entries: list[Any]) -> Reply:
    if error:
        return read_reply({"id": job_id, "failure": json.loads(error)})
    value = entries[0][1].get(b"return_value") if entries else None
    if value is None:  # failed by RQ's own tools, which write no error of ours
        return Reply(
            job_id, failure=JobFailure("attempts-exhausted", "the job was ended by RQ's own cleanup")
        )
    return read_reply({"id": job_id, **json.loads(b64decode(value))})


def read_claim(queue: str, row: list[Any]) -> Claim:
    """Read one job of what `lua/claim.lua` answers."""
    job_id, execution, data, left, attempt, request_id, waited, image = row
    return Claim(
        queue,
        job_id.decode(errors="replace"),
        execution.decode(),
        data,
        float(left) if left else None,
        int(attempt),
        request_id.decode(errors="replace"),
        float(waited),
        image or None,
    )
