"""From an upload to jobs in the queue: what both ways of asking, synchronous and not, have in common."""

import hashlib
import re
from collections.abc import Sequence
from secrets import token_hex

from flask import Response, jsonify, request

from gateway.error_responses import Problem
from gateway.request import current_request
from gateway.resources import Resources, resources
from gateway.upload_form import Form
from shared.job import Options
from shared.queue.messages import NewJob, Repeatable
from shared.queue.wire import digest
from shared.webhook import Forbidden, check_url

_KEY = re.compile(r"[\x20-\x7e]{1,255}")


def new_job(
    shared: Resources, image: bytes, options: Options, *, reply_to: str = "", webhook: str = ""
) -> NewJob:
    """A job for this request, of the caller whose key it came with."""
    asked = current_request()
    return NewJob(
        id=token_hex(16),
        image=image,
        options=options,
        request_id=asked.id,
        reply_to=reply_to,
        owner=asked.owner,
        webhook=webhook,
        digest=_digest(shared, image, options, asked.owner),
    )


def _digest(shared: Resources, image: bytes, options: Options, owner: str) -> str:
    """What a caller's equal requests share; nothing where none are kept, or while nobody knows the model."""
    served = shared.served() if shared.settings.result_cache_ttl else None
    return digest(image, options, served.model, owner) if served else ""


def repeatable(images: Sequence[bytes], options: Options, webhook: str) -> Repeatable | None:
    """The caller's `Idempotency-Key` and a hash of all that was sent; None without the header.

    Raises:
        Problem: the key is empty, too long or has other than printable ASCII characters.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise Problem(400, f"Idempotency-Key: {key[:40]!r} is not 1 to 255 printable ASCII characters")
    body = hashlib.sha256(repr((options, webhook)).encode())
    for image in images:
        body.update(hashlib.sha256(image).digest())
    # The key may hold spaces; a hash has none, and hides what callers may have put into it.
    return Repeatable(hashlib.sha256(key.encode()).hexdigest(), body.hexdigest())


def webhook(form: Form) -> str:
    """The form's field `webhook`, checked; empty where there is none.

    Raises:
        Problem: it is not an address that may be told.
    """
    text = form.fields.get("webhook", [""])[0].strip()
    settings = resources().settings
    if not text:
        return ""
    if not settings.webhook_secret:
        raise _wrong_webhook(422, "webhooks are off here: the server has no WEBHOOK_SECRET")
    try:
        check_url(text, settings.webhook_allow)
    except ValueError as error:
        raise _wrong_webhook(422 if isinstance(error, Forbidden) else 400, str(error)) from None
    return text


def _wrong_webhook(status: int, detail: str) -> Problem:
    return Problem(status, f"webhook: {detail}", fields={"webhook": detail})


def accepted(ids: Sequence[str], statuses: Sequence[str]) -> Response:
    """The answer 202 that names jobs and where to ask for them."""
    told = [
        {"id": job_id, "status": status, "href": f"/jobs/{job_id}"}
        for job_id, status in zip(ids, statuses, strict=True)
    ]
    response = jsonify({"jobs": told})
    response.status_code = 202
    response.headers["Location"] = f"/jobs/{ids[0]}" if len(ids) == 1 else f"/jobs?ids={','.join(ids)}"
    return response


def cache_status(outcome: str) -> str:
    """The `Cache-Status` header (RFC 9211) for what the cache did with a job."""
    forward = {"hit": "hit", "collapsed": "fwd=miss; collapsed", "stored": "fwd=miss; stored"}
    return f"classification-server; {forward[outcome]}"
