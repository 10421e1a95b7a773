"""Sends HTTP requests to a server, and measures the answers.

`python -m cli.bench.load_generator` reads a plan from stdin, and prints the measurements as JSON.

In a closed loop, each client sends its next request as soon as its previous request is answered. In an open
loop, requests are sent at random times (a Poisson process). These times do not depend on the answers. In an
open loop, the latency of a request is measured from the request's planned time. The bytes of all requests are
built before the first request is sent. The load generator checks the status, length and best classes of each
answer.
"""

import asyncio
import itertools
import json
import random
import re
import sys
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

BOUNDARY = b"classification-server-bench"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
TIMING = re.compile(rb"\r\nserver-timing: *([^\r]+)\r\n", re.IGNORECASE)
MAX_CONNECTIONS = 256


@dataclass
class Plan:
    """The load that a plan specifies, as a closed loop or as an open loop.

    A closed loop has `clients` clients. An open loop has `rate` requests per second.
    """

    url: str
    images: list[str]
    seconds: float
    clients: int = 0
    rate: float = 0.0
    key: str = ""
    expected: list[list[str]] = field(default_factory=list)
    """For each image, the expected best class of each region.

    If this list is empty, the first answer to an image specifies the expected best classes.
    """


@dataclass
class Outcome:
    """The measurements: each answer's latency in milliseconds (`times`), and counts of answers and errors."""

    times: list[float] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    """The times at which answers arrived, in seconds after the start.

    Answers that arrived after the plan's duration are left out.
    """
    stages: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    broken: int = 0


def build_requests(plan: Plan) -> list[bytes]:
    """Return the bytes of one request to POST /classify for each image."""
    host, requests = urlsplit(plan.url).netloc, []
    key = f"X-API-Key: {plan.key}\r\n" if plan.key else ""
    for path in plan.images:
        body = b'--%s\r\nContent-Disposition: form-data; name="blob"; filename="a.jpg"\r\n\r\n' % BOUNDARY
        body += Path(path).read_bytes() + b"\r\n--%s--\r\n" % BOUNDARY
        head = f"POST /classify HTTP/1.1\r\nHost: {host}\r\n{key}Content-Length: {len(body)}\r\n"
        kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}\r\n\r\n"
        requests.append((head + kind).encode() + body)
    return requests


class Connection(asyncio.Protocol):
    """A persistent HTTP connection that passes each complete answer to the load generator."""

    def __init__(self, generator: "LoadGenerator") -> None:
        self.generator, self.received = generator, bytearray()
        self.due, self.number = 0.0, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the asyncio transport. The method `send` writes requests to this transport."""
        self.transport: Any = transport

    def send(self, due: float, number: int) -> None:
        """Send the request with index `number`. The request's latency is measured from the time `due`."""
        self.due, self.number = due, number
        self.transport.write(self.generator.requests[number])

    def data_received(self, data: bytes) -> None:
        """Collect the bytes of an answer until the answer is complete."""
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        length = LENGTH.search(self.received, 0, end + 2) if end >= 0 else None
        if length and len(self.received) >= end + 4 + int(length[1]):
            head, body = bytes(self.received[: end + 2]), bytes(self.received[end + 4 :])
            self.received.clear()
            self.generator.answered(self, head, body)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the load generator that the connection is closed."""
        self.generator.lost(self)


class LoadGenerator:
    """Sends the requests of a plan and counts the answers."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.requests, self.outcome = plan, build_requests(plan), Outcome()
        self.expected = dict(enumerate(plan.expected))
        self.bodies: set[tuple[int, bytes]] = set()
        self.next = itertools.cycle(range(len(self.requests))).__next__
        self.start, self.ending, self.busy, self.connections = time.perf_counter(), False, 0, 0
        self.connecting: list[asyncio.Future[None]] = []
        self.idle: deque[Connection] = deque()
        self.late: deque[float] = deque()

    async def run(self) -> Outcome:
        """Send requests for the duration of the plan, then wait for the last answers."""
        for _ in range(self.plan.clients or 8):
            await self._connect()
        if self.plan.clients:
            for _ in range(self.plan.clients):
                self._send(time.perf_counter())
            await asyncio.sleep(self.plan.seconds)
        else:
            await self._send_at_random()
        self.ending = True
        for _ in range(1200):
            if not self.busy and not self.late:
                break
            await asyncio.sleep(0.05)
        return self.outcome

    async def _connect(self) -> None:
        target, self.connections = urlsplit(self.plan.url), self.connections + 1
        loop = asyncio.get_running_loop()
        host, port = target.hostname or "", target.port or 80
        _, connection = await loop.create_connection(lambda: Connection(self), host, port)
        self.idle.append(connection)
        if self.late:
            self._send(self.late.popleft())

    async def _send_at_random(self) -> None:
        """Send `rate` requests per second on average, at random times.

        A request uses an idle connection or a new connection.
        """
        rng, due = random.Random(0), time.perf_counter()
        end = due + self.plan.seconds
        while (due := due + rng.expovariate(self.plan.rate)) < end:
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            if self.idle:
                self._send(due)
                continue
            self.late.append(due)
            if self.connections < MAX_CONNECTIONS:
                self.connecting.append(asyncio.ensure_future(self._connect()))

    def _send(self, due: float) -> None:
        self.busy += 1
        self.idle.pop().send(due, self.next())

    def answered(self, connection: Connection, head: bytes, body: bytes) -> None:
        """Count an answer, and send the next request."""
        now, outcome = time.perf_counter(), self.outcome
        status = int(head[9:12])
        outcome.statuses[status] += 1
        if status == 200:
            outcome.times.append((now - connection.due) * 1000)
            if not self.ending:
                outcome.moments.append(now - self.start)
            self._check(connection.number, body)
            self._add_stages(head)
        self.busy -= 1
        self.idle.append(connection)
        if self.plan.clients and not self.ending:
            self._send(now)
        elif self.late:
            self._send(self.late.popleft())

    def _check(self, number: int, body: bytes) -> None:
        """Count an answer as wrong if its best classes differ from the image's expected classes."""
        if (number, body) in self.bodies:
            return
        found = [next(iter(region)) for region in json.loads(body)]
        if self.expected.setdefault(number, found) != found:
            self.outcome.wrong += 1
        elif len(self.bodies) < 10_000:
            self.bodies.add((number, body))

    def _add_stages(self, head: bytes) -> None:
        timing = TIMING.search(head)
        for stage in timing[1].decode().split(", ") if timing else ():
            name, _, milliseconds = stage.partition(";dur=")
            self.outcome.stages[name] += float(milliseconds)

    def lost(self, connection: Connection) -> None:
        """Count a connection that closed while a request was waiting for its answer.

        A connection without such a request is not counted.
        """
        self.connections -= 1
        if connection in self.idle:
            self.idle.remove(connection)
        else:
            self.busy -= 1
            self.outcome.broken += 1


def main() -> int:
    """Read a plan from stdin, send its requests, and print the measurements as JSON."""
    generator = LoadGenerator(Plan(**json.load(sys.stdin)))
    started, cpu = time.perf_counter(), time.process_time()
    outcome = uvloop.run(generator.run())
    spent = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    json.dump(vars(outcome) | spent, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
