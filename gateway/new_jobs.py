"""Creates the jobs for uploaded images, and the response 202 that lists the jobs."""

import hashlib
import re
from collections.abc import Sequence
from secrets import token_hex

from gateway.problem import Problem, field_problem
from gateway.request import Request
from gateway.resources import Resources
from gateway.response import Response, json_response
from gateway.upload.form import Form
from shared.job import Options
from shared.queue.messages import NewJob, Repeatable
from shared.queue.wire import digest
from shared.settings import Settings
from shared.webhook import Forbidden, check_url

_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")

_CACHE_STATUS = {"hit": "hit", "collapsed": "fwd=miss; collapsed", "stored": "fwd=miss; stored"}


async def new_job(
    shared: Resources,
    request: Request,
    image: bytes,
    options: Options,
    *,
    reply_to: str = "",
    webhook: str = "",
) -> NewJob:
    """Return a new job that belongs to the request's caller."""
    # Equal jobs of a caller have the same digest. The result cache ignores a job without a digest.
    served = await shared.served_soon() if shared.settings.result_cache_ttl else None
    return NewJob(
        id=token_hex(16),
        image=image,
        options=options,
        request_id=request.id,
        reply_to=reply_to,
        owner=request.owner,
        webhook=webhook,
        digest=digest(image, options, served.model, request.owner) if served else "",
    )


def repeatable(
    request: Request, images: Sequence[bytes], options: Options, webhook: str
) -> Repeatable | None:
    """Return a hash of the header `Idempotency-Key` and a hash of the form.

    Return None if the request has no header `Idempotency-Key`.

    Raises:
        Problem: the idempotency key is empty, is too long, or contains a character that is not printable
            ASCII.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        detail = f"expected 1 to 255 printable ASCII characters, got {key[:40]!r}. Choose another key."
        raise Problem(400, f"Idempotency-Key: {detail}")
    body = hashlib.sha256(repr((options, webhook)).encode())
    for image in images:
        body.update(hashlib.sha256(image).digest())
    # Redis stores only a hash of the idempotency key, because the key may contain spaces or secrets.
    return Repeatable(hashlib.sha256(key.encode()).hexdigest(), body.hexdigest())


def webhook_url(form: Form, settings: Settings) -> str:
    """Return the webhook's URL from the form, or an empty text if the form has no field `webhook`.

    Raises:
        Problem: the field `webhook` is not a URL to which webhooks may be sent.
    """
    url = form.fields.get("webhook", [""])[0].strip()
    if not url:
        return ""
    if not settings.webhook_secret:
        detail = "expected no webhook, got a URL. The server sends webhooks only if WEBHOOK_SECRET is set."
        raise field_problem(422, "webhook", detail)
    try:
        check_url(url, settings.webhook_allow)
    except ValueError as error:
        status = 422 if isinstance(error, Forbidden) else 400
        raise field_problem(status, "webhook", str(error)) from None
    return url


def accepted(ids: Sequence[str], statuses: Sequence[str]) -> Response:
    """Return the response 202 with the jobs' ids, statuses and URLs."""
    jobs = [
        {"id": job_id, "status": status, "href": f"/jobs/{job_id}"}
        for job_id, status in zip(ids, statuses, strict=True)
    ]
    location = f"/jobs/{ids[0]}" if len(ids) == 1 else f"/jobs?ids={','.join(ids)}"
    return json_response({"jobs": jobs}, 202, {"Location": location})


def cache_status(outcome: str) -> str:
    """Return the header `Cache-Status` (RFC 9211) for a job's cache outcome: hit, collapsed or stored."""
    return f"classification-server; {_CACHE_STATUS[outcome]}"
