"""The calls of the asynchronous side."""

from gateway.jobs_routes import JOB_ID, MAX_IDS, MAX_WAIT_SECONDS
from gateway.openapi.images import form, form_problems, image
from gateway.openapi.parts import AWAY, FAULT, FULL, Json, answer, array, call, number, problems, ref, text
from gateway.upload_fields import most_images
from gateway.upload_form import IMAGES_IN_MEMORY
from shared.settings import Settings
from shared.webhook import MAX_URL

_ID = text(pattern=f"^{JOB_ID}$")
_UNKNOWN = ("There is no such job: it never was, or it ended too long ago.", "unknown job")
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "printable ASCII, 255 at most: the same form sent again with it gives the same jobs",
    "schema": text(pattern="^[!-~]([ -~]{0,253}[!-~])?$"),
}
_WEBHOOK = text(
    "a public http or https address that is told of each job's end",
    maxLength=MAX_URL,
    anyOf=[{"const": ""}, {"format": "uri", "pattern": "^https?://"}],
    default="",
)
_ENDED = {
    "jobEnded": {
        "{$request.body#/webhook}": {
            "post": {
                "summary": "Tell that a job has ended",
                "parameters": [
                    {"name": name, "in": "header", "required": True, "description": what, "schema": text()}
                    for name, what in (
                        ("webhook-id", "the job's id: the same for every try"),
                        ("webhook-timestamp", "of this try, in seconds since 1970"),
                        ("webhook-signature", "`v1,` and the HMAC-SHA256 of id.timestamp.body in base64"),
                    )
                ],
                "requestBody": {"content": {"application/json": {"schema": ref("JobEnded")}}},
                "responses": {
                    "2XX": {"description": "Understood; anything else is tried again for a day."},
                    "410": {"description": "No more tries of this message."},
                },
            }
        }
    }
}
_WAIT = {
    "name": "wait",
    "in": "query",
    "description": "seconds to wait for the end, before it is answered anyway",
    "schema": number(minimum=0, maximum=MAX_WAIT_SECONDS, default=0),
}


def paths(settings: Settings) -> Json:
    """The calls, by path and method."""
    job_id = {"name": "job_id", "in": "path", "required": True, "schema": _ID}
    return {
        "/jobs": {"post": _submit(settings), "get": _poll_many()},
        "/jobs/{job_id}": {"parameters": [job_id], "get": _poll(settings), "delete": _cancel()},
    }


def _submit(settings: Settings) -> Json:
    most = most_images(settings)
    in_all = min(most, IMAGES_IN_MEMORY) * settings.max_upload_bytes
    what = f"from 1 to {most} images of {in_all} bytes in all, each {image(settings)}"
    blob = array(text(format="binary"), what, minItems=1, maxItems=most)
    headers = ("Location", "Idempotency-Replayed")
    queued = answer("They are queued.", ref("SubmittedJobs"), "submitted", headers=headers)
    first = {"job_id": "$response.body#/jobs/0/id"}
    links = {name: {"operationId": name, "parameters": first} for name in ("getJob", "cancelJob")}
    reused = ("The `Idempotency-Key` was sent with another form before.", "key reused")
    return call(
        "submitJobs",
        "jobs",
        "Submit images, one job each, all or none",
        parameters=[_KEY],
        requestBody=form(settings, blob, **({"webhook": _WEBHOOK} if settings.webhook_secret else {})),
        responses={
            "202": {**queued, "links": links},
            **form_problems(settings),
            **problems({409: reused, 429: FULL, 500: FAULT, 503: AWAY}),
        },
        **({"callbacks": _ENDED} if settings.webhook_secret else {}),
    )


def _poll(settings: Settings) -> Json:
    kept = ("Cache-Status",) if settings.result_cache_ttl else ()
    examples = ("queued", "finished", "finished, consolidated", "failed")
    return call(
        "getJob",
        "jobs",
        "Ask for a job, or wait for its end",
        parameters=[_WAIT],
        responses={
            "200": answer("What is known of it.", ref("Job"), *examples, headers=kept),
            **problems({400: ("`wait` is wrong.", "wait"), 404: _UNKNOWN, 500: FAULT, 503: AWAY}),
        },
    )


def _poll_many() -> Json:
    ids = {
        "name": "ids",
        "in": "query",
        "required": True,
        "explode": False,
        "description": "the jobs, with commas between them",
        "schema": array(_ID, minItems=1, maxItems=MAX_IDS),
    }
    return call(
        "getJobs",
        "jobs",
        "Ask for several jobs, or wait until any of them has ended",
        parameters=[ids, _WAIT],
        responses={
            "200": answer("What is known of each.", ref("Jobs"), "finished and unknown"),
            **problems({400: ("`ids` or `wait` is wrong.", "ids", "wait"), 500: FAULT, 503: AWAY}),
        },
    )


def _cancel() -> Json:
    return call(
        "cancelJob",
        "jobs",
        "Cancel a job that waits; as any that ended, it is not forgotten at once",
        responses={
            "200": answer("It is canceled.", ref("CanceledJob"), "canceled"),
            **problems({404: _UNKNOWN, 409: ("It was begun, or has ended.", "ended"), 500: FAULT, 503: AWAY}),
        },
    )
