"""POST /classify, and the form that POST /jobs takes too."""

from gateway.openapi.parts import (
    FAULT,
    FULL,
    NO_WORKER,
    Json,
    answer,
    call,
    integer,
    problems,
    record,
    ref,
    text,
)
from gateway.upload_fields import FALSE, TRUE
from gateway.upload_form import FORM_SLACK, OTHER_PARTS
from shared.settings import Settings

_TYPES = "image/jpeg, image/png, image/webp, image/bmp, image/gif, image/tiff"

_PREFER = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=N`: after N seconds without an answer, a job to ask for; `respond-async`: at once",
    "schema": text(),
}


def paths(settings: Settings) -> Json:
    """The calls, by path and method."""
    return {"/classify": {"post": _classify(settings)}}


def _classify(settings: Settings) -> Json:
    late = (f"There was no answer within {settings.request_timeout:g} s.", "timeout")
    examples = ("one image", "three regions", "consolidated", "nothing accepted")
    kept = ("Cache-Status",) if settings.result_cache_ttl else ()
    return call(
        "classify",
        "images",
        "Classify an image, and wait for the answer",
        parameters=[_PREFER],
        requestBody=form(settings, text(image(settings), format="binary")),
        responses={
            "200": answer(
                "The scores; with `consolidate`, one merged answer.",
                ref("ClassifyAnswer"),
                *examples,
                headers=("X-Job-Id", "X-Model", "Server-Timing", *kept),
            ),
            "202": answer(
                "It takes longer than preferred: a job to ask for.",
                ref("SubmittedJobs"),
                "later",
                headers=("X-Job-Id", "Location", "Preference-Applied"),
            ),
            **form_problems(settings),
            **problems({429: FULL, 500: FAULT, 503: NO_WORKER, 504: late}),
        },
    )


def image(settings: Settings) -> str:
    """What a file may be."""
    largest = f"{settings.max_upload_bytes} bytes and {settings.max_image_pixels} pixels"
    return f"a JPEG, PNG, WebP, BMP, GIF or TIFF of at most {largest}"


def form(settings: Settings, blob: Json, **more: Json) -> Json:
    """The request's body: one image or several, and what is asked of each."""
    options = {
        "regions": _regions(settings),
        "top_n": integer("most answers for each region", minimum=1, default=5),
        "consolidate": text(
            "whether to merge all regions into one answer", enum=[*TRUE, *FALSE], default="0"
        ),
        **more,
    }
    content = {
        "schema": record({"blob": blob, **options}, optional=tuple(options)),
        "encoding": {"blob": {"contentType": _TYPES}},
    }
    return {"required": True, "content": {"multipart/form-data": content}}


def _regions(settings: Settings) -> Json:
    most = settings.max_regions
    form = "x,y,side" if settings.region_order == "xy" else "y,x,side"
    one = "( *[0-9]{1,9} *, *[0-9]{1,9} *, *[0-9]{1,9} *)"
    return text(
        f"at most {most} squares `{form}` with `;` between them, in pixels of the upright image, such as "
        "`40,40,120;100,20,200`; the whole image where it is empty",
        pattern=f"^({one}(;{one}){{0,{most - 1}}};?)?$",
        default="",
    )


def form_problems(settings: Settings) -> Json:
    """What may be wrong with the form."""
    large = (
        f"An image has more than {settings.max_upload_bytes} bytes or {settings.max_image_pixels} pixels, "
        f"there are too many, or beside them there are more than {FORM_SLACK} bytes or {OTHER_PARTS} fields."
    )
    impossible = "There is no such region or `top_n`, or too many regions; or the image is damaged."
    return problems(
        {
            400: ("The image is missing, or a field can't be understood.", "every field", "no image"),
            413: (large, "large"),
            415: ("It is no multipart form, or no image that is read.", "heic"),
            422: (impossible, "outside", "damaged"),
        }
    )
