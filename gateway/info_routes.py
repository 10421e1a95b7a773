"""The endpoints /classes and /cfg: the class names and the settings of the workers' model."""

from typing import Any

from flask import Blueprint

from gateway.problem import no_worker
from gateway.resources import resources
from gateway.route_policy import route
from shared.queue.messages import Served
from shared.version import version

bp = Blueprint("info", __name__)


def _served() -> Served:
    served = resources().served()
    if served is None:
        raise no_worker()
    return served


@route(bp, "/classes")
def classes() -> list[str]:
    """Return the class names in the order of the model's outputs."""
    return list(_served().model["classes"])


@route(bp, "/cfg", ["GET", "POST"])
def cfg() -> dict[str, Any]:
    """Return the model's input size and the settings that affect answers.

    The input size has the same format as in the server that this project replaces. While workers change from
    one model to another, the response's field `models` lists both models. The fields `devices` and `warnings`
    list the devices and the warnings of all workers. The response's other fields describe the newest model.
    """
    served = _served()
    model = served.model
    copied = ("preprocess", "activation", "precision", "color", "resize", "minimum_threshold")
    return {
        "input_dims": f"{model['height']}x{model['width']}x{model['channels']}",
        "input_batch": model["batch"],
        **{name: model[name] for name in copied},
        **{name: model[name] for name in ("mean", "std") if name in model},
        "region_order": resources().settings.region_order,
        "model": model["fingerprint"],
        "thresholds": model["thresholds"],
        "framework": model["framework"],
        "workers": served.workers,
        "models": [
            {
                "model": each["fingerprint"],
                "thresholds": each["thresholds"],
                "precision": each["precision"],
                "workers": workers,
            }
            for each, workers in served.models
        ],
        "warnings": served.warnings,
        "devices": [each._asdict() for each in served.devices],
        "version": version(),
    }
