"""The bodies that are answered."""

from gateway.openapi.parts import Json, array, integer, number, or_null, record, ref, table, text
from shared.job import FAILURES

_JOB_ID = text(pattern="^[0-9a-f]{32}$")
_STATUSES = ["queued", "started", "finished", "failed", "canceled", "expired"]
_SCORE = number("as the model gives it, rounded to six decimals")
_SHA256 = "^[0-9a-f]{64}$"
_MODEL = text("the model's fingerprint: the SHA-256 of its file", pattern=_SHA256)
_THRESHOLDS = text("the SHA-256 of the thresholds file", pattern=_SHA256)
_TIME = text(format="date-time")
_WORKERS = integer("workers that are alive with a warm model", minimum=1)
_BY_QUEUE = record(
    {"interactive": integer(minimum=0), "bulk": integer(minimum=0)}, "synchronous and asynchronous jobs"
)
_REGION = array(integer(), minItems=3, maxItems=3)
_PAIR = {
    "type": "array",
    "description": "a species and its score; null where no answer was accepted",
    "prefixItems": [text(), {"type": ["number", "null"]}],
    "minItems": 2,
    "maxItems": 2,
}

_ANSWERS = {
    "ClassifyAnswer": {"oneOf": [ref("Scores"), ref("Consolidated")]},
    "Scores": array(
        table(_SCORE, "scores by class name, the best first"),
        "An object for each region, in the order asked; one for the whole image.",
        minItems=1,
    ),
    "Consolidated": array(
        _PAIR,
        "One answer for all regions, the best species first: the accepted answers are added up by species, "
        "the first one's score is the mean of its own, the others' is 0.",
        minItems=1,
    ),
}

_RESULT = {
    "Result": record(
        {
            "regions": array(
                record(
                    {
                        "region": or_null(_REGION, "x, y and side; null for the whole image"),
                        "predictions": array(
                            ref("Prediction"), "the best `top_n`, the best first", minItems=1
                        ),
                    }
                ),
                minItems=1,
            ),
            "consolidated": ref("Consolidated"),
            "model": _MODEL,
            "thresholds": _THRESHOLDS,
        },
        "What was seen in one image; `consolidated` only where it was asked.",
        optional=("consolidated",),
    ),
    "Prediction": record(
        {
            "class": text(),
            "score": _SCORE,
            "accepted": {"type": "boolean", "description": "whether the score is above the threshold"},
            "threshold": number(),
        }
    ),
}

_JOBS = {
    "SubmittedJobs": record(
        {
            "jobs": array(
                record(
                    {
                        "id": _JOB_ID,
                        "status": text(
                            "`queued`; `finished` where its answer was kept; where the same was sent before, "
                            "what it is by now",
                            enum=[*_STATUSES, "unknown"],
                        ),
                        "href": text("where to ask for it", format="uri-reference"),
                    }
                ),
                "one for each image, in their order",
                minItems=1,
            )
        }
    ),
    "Job": record(
        {
            "id": _JOB_ID,
            "status": text("the last four are final", enum=_STATUSES),
            "position": or_null(
                integer(minimum=1),
                "a queued job's place, from 1; null in a list of jobs, which looks for none",
            ),
            "estimated_wait": or_null(
                number(minimum=0), "seconds until then, by the measured speed; likewise"
            ),
            "submitted_at": _TIME,
            "started_at": or_null(_TIME),
            "ended_at": or_null(_TIME),
            "attempts": integer("how often a worker began it", minimum=0),
            "result": or_null(ref("Result"), "of a finished job"),
            "error": or_null(ref("Failure"), "why a job that ended has no result"),
        }
    ),
    "Failure": record({"code": text(enum=list(FAILURES)), "detail": text("what happened, in a sentence")}),
    "Jobs": record({"jobs": array({"oneOf": [ref("Job"), ref("UnknownJob")]}, "in the order asked")}),
    "UnknownJob": record({"id": text(), "status": text("it never was, or is forgotten", const="unknown")}),
    "JobEnded": record(
        {
            "type": text(enum=["job.finished", "job.failed", "job.canceled", "job.expired"]),
            "timestamp": _TIME,
            "data": {
                "type": "object",
                "description": "the job, as in `Job` but for what only waiting ones have",
            },
        },
        "A message to a webhook (Standard Webhooks).",
    ),
    "CanceledJob": record({"id": _JOB_ID, "status": text(const="canceled")}),
}

_SERVED = {
    "Classes": array(text(), "The class names, in the order of the model's outputs.", minItems=1),
    "Cfg": record(
        {
            "input_dims": text(
                "height, width and channels of the model's input", pattern="^[0-9]+(x[0-9]+){2}$"
            ),
            "input_batch": integer("most images and regions in one run of the model", minimum=1),
            "preprocess": text("the module of tf.keras.applications whose preprocess_input is applied"),
            "activation": text(enum=["none", "softmax"]),
            "precision": text(enum=["float32", "bfloat16"]),
            "color": text("order of the channels", enum=["rgb", "bgr"]),
            "resize": text(enum=["antialias", "bilinear", "nearest"]),
            "region_order": text("order of a region's numbers", enum=["xy", "yx"]),
            "minimum_threshold": number("scores at or below it are never accepted", minimum=0, maximum=1),
            "model": _MODEL,
            "thresholds": _THRESHOLDS,
            "framework": text("what loaded the model", enum=["keras", "tf_keras", "savedmodel"]),
            "workers": _WORKERS,
            "models": array(
                record({"model": _MODEL, "thresholds": _THRESHOLDS, "workers": _WORKERS}),
                "what the workers serve, the newest first: more than one while the model is changed",
                minItems=1,
            ),
            "version": text("the gateway's version"),
        }
    ),
    "Status": record(
        {
            "workers": integer("workers that are alive with a warm model", minimum=0),
            "waiting": _BY_QUEUE,
            "running": _BY_QUEUE,
            "inputs": integer("images and regions that the model was run on", minimum=0),
            "batches": integer("runs of the model", minimum=0),
            "answers": array(
                record({"within": or_null(number(), "seconds; null: longer"), "jobs": integer(minimum=0)}),
                "how many synchronous jobs had their scores within so long, but not within the bound before",
            ),
        },
        "How queue and workers are now, and what was counted since Redis began: the same at every gateway.",
    ),
    "Live": record({"status": text("stopping: a moment yet", enum=["live", "stopping"])}),
    "Ready": record(
        {
            "status": text(const="ready"),
            "workers": _WORKERS,
            "start_failures": array(
                record(
                    {"host": text(), "reason": text(), "at": number("seconds since 1970", minimum=0)},
                ),
                "why workers of the last hour did not start, the latest first",
            ),
        }
    ),
}

_PROBLEM = {
    "Problem": record(
        {
            "type": text(
                "`about:blank`, or `urn:problem:` and the code of a job's failure", format="uri-reference"
            ),
            "title": text("the status in words"),
            "status": integer(minimum=400, maximum=599),
            "detail": text("what was wrong, where, and what to do"),
            "errors": array(
                record({"field": text("its name"), "detail": text("what is wrong with it")}),
                "the fields at fault",
                minItems=1,
            ),
        },
        "An error, in the form of RFC 9457.",
        optional=("errors",),
    )
}

SCHEMAS: Json = {**_ANSWERS, **_RESULT, **_JOBS, **_SERVED, **_PROBLEM}
