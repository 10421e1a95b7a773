"""Health: is the process up, and would a request be answered."""

from dataclasses import asdict

from flask import Blueprint

from gateway.error_responses import RETRY_SECONDS, Problem
from gateway.resources import resources

bp = Blueprint("health", __name__, url_prefix="/health")


@bp.get("/live")
def live() -> dict[str, str]:
    """The process answers. "stopping" tells a balancer that the next request is better sent elsewhere."""
    return {"status": "stopping" if resources().draining() else "live"}


@bp.get("/ready")
def ready() -> dict[str, object]:
    """Redis answers, a worker is alive with a warm model and may take jobs, and this process is not stopping.

    Asked anew each time. It also tells why workers of the last hour did not start.
    """
    shared = resources()
    if shared.draining():
        raise Problem(503, "this gateway is stopping: it only ends what it has begun")
    failures = [asdict(each) for each in shared.queue.fleet.start_failures()]
    served = shared.queue.fleet.served()
    if served is None:
        reasons = [f"; the worker on {each['host']} did not start: {each['reason']}" for each in failures]
        detail = "no worker with a model is ready" + "".join(reasons)
        raise Problem(503, detail, retry_after=RETRY_SECONDS)
    if shared.queue.suspended():
        raise Problem(503, "no jobs are taken: the queue was suspended; `rq resume` ends that")
    return {"status": "ready", "workers": served.workers, "start_failures": failures}
