"""The endpoint GET /status: the service's load in a small response.

Each open web page requests /status every two seconds.

The counts are stored in Redis, so every gateway returns the same counts. A client computes rates from the
difference between two responses. GET /metrics also returns the values of /status, and many other values.
"""

from flask import Blueprint

from gateway.queue_metrics import histogram_counts
from gateway.resources import resources
from gateway.route_policy import route
from shared.metric_names import ANSWER, BATCH_INPUTS
from shared.queue import INTERACTIVE
from shared.worker_counts import SUM

bp = Blueprint("status", __name__)


@route(bp, "/status", limited=False, quiet=True)
def status() -> dict[str, object]:
    """Return the state of workers and queues.

    Also return the total counts of inputs, batches and answers since Redis started.
    """
    served, metrics = resources().served(), resources().queue.metrics()
    batches = histogram_counts(metrics, BATCH_INPUTS)
    answers = histogram_counts(metrics, ANSWER, INTERACTIVE)
    inputs = batches.pop(SUM, 0)
    return {
        "workers": served.workers if served else 0,
        "devices": [each._asdict() for each in served.devices] if served else [],
        "waiting": metrics.waiting,
        "running": metrics.running,
        "inputs": int(inputs),
        "batches": int(sum(batches.values())),
        "answers": [
            *({"within": bound, "jobs": int(answers.get(str(bound), 0))} for bound in ANSWER.bounds),
            {"within": None, "jobs": int(answers.get("inf", 0))},
        ],
    }
