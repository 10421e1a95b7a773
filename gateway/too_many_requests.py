"""Makes every 429: the queue is full, or a caller's rate limit is exhausted."""

from gateway.problem import Problem
from shared.queue.messages import QueueFull


def queue_full(error: QueueFull) -> Problem:
    """Return the 429 of a full queue, with the seconds until the queue has room."""
    return Problem(429, str(error), retry_after=error.retry_after)


def rate_limited(limit: str, seconds: int) -> Problem:
    """Return the 429 of a caller's exhausted limit, with the seconds until its next request counts."""
    detail = f"Rate limit: expected at most {limit}, got more. Send the request again in {seconds} s."
    return Problem(429, detail, retry_after=seconds)
