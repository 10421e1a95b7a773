"""Creates the error responses 429 for a full queue and for an exhausted rate limit."""

from gateway.problem import Problem
from shared.queue.messages import QueueFull


def queue_full(error: QueueFull) -> Problem:
    """Return the error 429 for a full queue.

    The error contains the estimated number of seconds until the queue has room.
    """
    return Problem(429, str(error), retry_after=error.retry_after)


def rate_limited(limit: str, seconds: int) -> Problem:
    """Return the error 429 for an exhausted rate limit.

    The error contains the number of seconds until the caller may send another request.
    """
    detail = f"Rate limit: expected at most {limit}, got more. Send the request again in {seconds} s."
    return Problem(429, detail, retry_after=seconds)
