"""Starts the gateway's waiting calls without waiting for their results."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

_pool = ThreadPoolExecutor(64)


def begin(call: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
    """Start a call, and return its future result."""
    return _pool.submit(call, *arguments, **options)
