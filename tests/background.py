"""Runs coroutines of the gateway on an event loop in the background."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def begin(call: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any, **options: Any) -> Future[Any]:
    """Start a coroutine, and return its future result."""
    return asyncio.run_coroutine_threadsafe(call(*arguments, **options), LOOP)
