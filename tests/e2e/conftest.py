from collections.abc import Iterator

import pytest

from tests.stack import Stack

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Start one gateway and one worker with the demo model, for all tests that restore its initial state."""
    running = Stack(WEBHOOK_SECRET=SECRET, WEBHOOK_ALLOW="127.0.0.1")
    running.start_worker()
    yield running
    running.close()
