"""GET /status: how busy the service is, in so few bytes that a page may ask every other second.

What is counted stands in Redis, so every gateway answers the same, and who asks twice has the rates.
/metrics tells the same figures and many more.
"""

from flask import Blueprint

from gateway.resources import resources
from shared.metric_names import ANSWER, BATCH_INPUTS, SUM, Histogram, QueueMetrics
from shared.queue import INTERACTIVE

bp = Blueprint("status", __name__)


@bp.get("/status")
def status() -> dict[str, object]:
    """Workers and queues as they are now, and what was counted since Redis began."""
    served, figures = resources().served(), resources().queue.metrics()
    batches, answers = _counted(figures, BATCH_INPUTS), _counted(figures, ANSWER, INTERACTIVE)
    inputs = batches.pop(SUM, 0)
    return {
        "workers": served.workers if served else 0,
        "waiting": figures.waiting,
        "running": figures.running,
        "inputs": inputs,
        "batches": sum(batches.values()),
        "answers": [
            *({"within": bound, "jobs": answers.pop(str(bound), 0)} for bound in ANSWER.bounds),
            {"within": None, "jobs": answers.get("inf", 0)},
        ],
    }


def _counted(figures: QueueMetrics, what: Histogram, label: str = "") -> dict[str, int]:
    return {
        count.rest: int(amount)
        for count, amount in figures.counts.items()
        if (count.kind, count.label) == (what.name, label)
    }
