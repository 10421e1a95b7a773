"""The objects that the gateway's views share."""

import threading

from gateway.resources import Resources
from shared.queue.messages import Served
from shared.settings import Settings

SERVED = Served({"id": "m"}, 1, 1.0, (({"id": "m"}, 1),), 32)


class SlowQueue:
    """Answers when `go` is set."""

    def __init__(self) -> None:
        self.reads, self.go = 0, threading.Event()
        self.fleet = self

    def served(self) -> Served:
        self.reads += 1
        assert self.go.wait(10)
        return SERVED


def test_while_one_request_refreshes_the_workers_others_use_the_last_known_value() -> None:
    queue = SlowQueue()
    shared = Resources(Settings(), queue, None, _served=(float("-inf"), SERVED))  # type: ignore[arg-type]
    one = threading.Thread(target=shared.served)
    one.start()
    while not queue.reads:
        pass
    assert [shared.served() for _ in range(100)] == [SERVED] * 100 and queue.reads == 1
    queue.go.set()
    one.join()
