"""Health: is the process up, and would a request be answered."""

from flask import Blueprint

from gateway.errors import RETRY_SECONDS, Problem
from gateway.resources import resources

bp = Blueprint("health", __name__, url_prefix="/health")


@bp.get("/live")
def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@bp.get("/ready")
def ready() -> dict[str, object]:
    """Redis answers, and at least one worker is alive with a warm model. Asked anew each time."""
    served = resources().queue.served()
    if served is None:
        raise Problem(503, "no worker with a model is ready", retry_after=RETRY_SECONDS)
    return {"status": "ready", "workers": served.workers}
