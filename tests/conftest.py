import fcntl
import logging
import os
from collections.abc import Iterator

import pytest

# The reading threads of the tests' apps outlive the tests in daemon threads. Without this handler they would
# print on the terminal that their server is unreachable.
logging.getLogger("gateway.inflight").addHandler(logging.NullHandler())


@pytest.fixture(autouse=True)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep other tests from running during a test marked `alone`, in parallel runs (`-n`)."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    folder = tmp_path_factory.getbasetemp().parent  # shared by all processes of this run
    how = fcntl.LOCK_EX if request.node.get_closest_marker("alone") else fcntl.LOCK_SH
    with open(folder / "turn.lock", "w") as turn, open(folder / "machine.lock", "w") as lock:
        # Without this lock, new tests would share the machine again and again while an `alone` test waits.
        fcntl.flock(turn, how)
        fcntl.flock(lock, how)
        fcntl.flock(turn, fcntl.LOCK_UN)
        yield
