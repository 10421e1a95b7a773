"""GET /health/live reports whether the gateway process runs.

GET /health/ready reports whether the service can classify images.
"""

from dataclasses import asdict

from flask import Blueprint

from gateway.problem import Problem, no_worker
from gateway.resources import resources
from gateway.route_policy import route

bp = Blueprint("health", __name__, url_prefix="/health")


@route(bp, "/live", public=True, limited=False, quiet=True)
def live() -> dict[str, str]:
    """Report that this gateway process runs.

    The reported status is "live". After SIGTERM, the reported status is "stopping".
    """
    return {"status": "stopping" if resources().draining() else "live"}


@route(bp, "/ready", public=True, limited=False, quiet=True)
def ready() -> dict[str, object]:
    """Report whether the service can classify images.

    The service can classify images if Redis, a worker and this gateway are ready. Each health check reads the
    current state from Redis. The response also lists each worker that failed to start in the last hour, with
    the reason of the failure, and the workers' warnings about their files.
    """
    shared = resources()
    if shared.draining():
        raise Problem(503, "This gateway is stopping and finishes its last requests. Use another gateway.")
    failures = [asdict(each) for each in shared.queue.fleet.start_failures()]
    served = shared.queue.fleet.served()
    if served is None:
        reasons = [f"The worker on {each['host']} did not start: {each['reason']}" for each in failures]
        raise no_worker("; ".join(reasons))
    if shared.queue.suspended():
        raise Problem(503, "The queue is suspended, so no jobs run. Resume it with `rq resume`.")
    return {
        "status": "ready",
        "workers": served.workers,
        "start_failures": failures,
        "warnings": served.warnings,
    }
