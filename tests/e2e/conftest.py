from collections.abc import Iterator

import pytest

from tests.stack import Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The demo model behind one gateway and one worker, shared by the tests that leave it in order."""
    running = Stack()
    running.start_worker()
    yield running
    running.close()
