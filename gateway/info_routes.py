"""What is served: GET /classes, GET or POST /cfg."""

from typing import Any

from flask import Blueprint

from gateway.error_responses import RETRY_SECONDS, Problem
from gateway.resources import resources
from shared.queue.messages import Served
from shared.version import version

bp = Blueprint("info", __name__)


def _served() -> Served:
    served = resources().served()
    if served is None:
        raise Problem(503, "no worker with a model is ready; ask again soon", retry_after=RETRY_SECONDS)
    return served


@bp.get("/classes")
def classes() -> list[str]:
    """The class names, in the order of the model's outputs."""
    return list(_served().model["classes"])


@bp.route("/cfg", methods=["GET", "POST"])
def cfg() -> dict[str, Any]:
    """The model's input size, as the original answers it, and what else shapes the answers.

    While the model is changed there are several in `models`; the rest tells of the newest.
    """
    served = _served()
    model = served.model
    kept = ("preprocess", "activation", "precision", "color", "resize", "minimum_threshold")
    return {
        "input_dims": f"{model['height']}x{model['width']}x{model['channels']}",
        "input_batch": model["batch"],
        **{name: model[name] for name in kept},
        "region_order": resources().settings.region_order,
        "model": model["fingerprint"],
        "thresholds": model["thresholds"],
        "framework": model["framework"],
        "workers": served.workers,
        "models": [
            {"model": each["fingerprint"], "thresholds": each["thresholds"], "workers": workers}
            for each, workers in served.models
        ],
        "version": version(),
    }
