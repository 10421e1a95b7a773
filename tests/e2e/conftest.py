from collections.abc import Iterator

import pytest

from tests.stack import Stack

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The demo model behind one gateway and one worker, shared by the tests that leave it in order."""
    running = Stack(WEBHOOK_SECRET=SECRET, WEBHOOK_ALLOW="127.0.0.1")
    running.start_worker()
    yield running
    running.close()
