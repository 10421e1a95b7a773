"""What the gateway's views share."""

import threading

from gateway.resources import Resources
from shared.queue.messages import Served
from shared.settings import Settings

SERVED = Served({"id": "m"}, 1, 1.0, (({"id": "m"}, 1),), 32)


class SlowQueue:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked, self.go = 0, threading.Event()
        self.fleet = self

    def served(self) -> Served:
        self.asked += 1
        assert self.go.wait(10)
        return SERVED


def test_while_one_request_asks_for_the_workers_others_go_on_with_what_was_known() -> None:
    queue = SlowQueue()
    shared = Resources(Settings(), queue, None, None, _served=(float("-inf"), SERVED))  # type: ignore[arg-type]
    one = threading.Thread(target=shared.served)
    one.start()
    while not queue.asked:
        pass
    assert [shared.served() for _ in range(100)] == [SERVED] * 100 and queue.asked == 1
    queue.go.set()
    one.join()
