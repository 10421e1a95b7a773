"""Creates every response 429: the queue is full, or a caller's rate limit is exhausted."""

from gateway.problem import Problem
from shared.queue.messages import QueueFull


def queue_full(error: QueueFull) -> Problem:
    """Return the problem 429 for a full queue, with the seconds until the queue has room."""
    return Problem(429, str(error), retry_after=error.retry_after)


def rate_limited(limit: str, seconds: int) -> Problem:
    """Return the problem 429 for an exhausted rate limit, with the seconds until a request is allowed."""
    detail = f"Rate limit: expected at most {limit}, got more. Send the request again in {seconds} s."
    return Problem(429, detail, retry_after=seconds)
