import fcntl
import logging
import os
from collections.abc import Iterator

import pytest

# The listeners of apps that tests made live on in daemon threads, and would complain on the terminal that
# their server is gone.
logging.getLogger("gateway.reply_listener").addHandler(logging.NullHandler())


@pytest.fixture(autouse=True)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where tests run side by side (`-n`), a test marked `alone` has the machine to itself."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    folder = tmp_path_factory.getbasetemp().parent  # of all processes of this run
    how = fcntl.LOCK_EX if request.node.get_closest_marker("alone") else fcntl.LOCK_SH
    with open(folder / "turn.lock", "w") as turn, open(folder / "machine.lock", "w") as lock:
        fcntl.flock(turn, how)  # or those who share the machine would keep it for ever
        fcntl.flock(lock, how)
        fcntl.flock(turn, fcntl.LOCK_UN)
        yield
