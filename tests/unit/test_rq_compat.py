"""RQ's private names that `shared/rq_compat.py` uses: a new version of RQ must still have them."""

import signal
from datetime import UTC, datetime, timedelta

import fakeredis
import pytest
from rq import SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from shared.rq_compat import QuietWorker, SafeJob


class Stoppable(QuietWorker):
    """Records its calls."""

    def __init__(self) -> None:
        connection = fakeredis.FakeRedis(socket_timeout=10.0)
        super().__init__(["x"], connection=connection, serializer=JSONSerializer, worker_ttl=60)
        self.calls: list[str] = []

    def on_stop(self) -> None:
        self.calls.append("stop")

    def on_forced_stop(self) -> None:
        self.calls.append("forced stop")


@pytest.mark.parametrize("name", ["_install_signal_handlers", "_shutdown", "_set_connection"])
def test_rqs_worker_has_the_methods_that_ours_replaces(name: str) -> None:
    assert callable(getattr(SimpleWorker, name))


@pytest.mark.parametrize("event", ["success", "failure", "stopped"])
def test_a_record_names_no_callback(event: str) -> None:
    record = {b"data": b"", f"{event}_callback_name".encode(): b"os.mkdir"}
    theirs, ours = (kind("x", connection=fakeredis.FakeRedis()) for kind in (Job, SafeJob))
    theirs.restore(record)
    ours.restore(record)
    name = f"_{event}_callback_name"
    assert (getattr(theirs, name), getattr(ours, name)) == ("os.mkdir", None)


def test_the_connection_keeps_its_timeout() -> None:
    worker = Stoppable()
    assert worker.connection.connection_pool.connection_kwargs["socket_timeout"] == 10.0


def test_the_first_signal_stops_and_a_second_one_after_a_second_stops_at_once() -> None:
    worker, before = Stoppable(), {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        worker.install_signal_handlers()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert worker.calls == ["stop"]
        worker._shutdown_requested_date = datetime.now(UTC) - timedelta(seconds=2)
        signal.raise_signal(signal.SIGTERM)
        assert worker.calls == ["stop", "forced stop"]
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
