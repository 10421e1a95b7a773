"""Check the gateway's time limits against those of the proxies in front of it: `python -m tests.keepalive`.

The service answers no job, because its queues are suspended. nginx keeps a pool of connections to the gateway
for 60 s, and waits 60 s for each answer. Many callers send requests at the same time, with pauses around the
usual limits of idle connections. Some callers send their requests to the gateway itself, as a proxy does that
never closes a connection. `--scale` shortens all times.
"""

import argparse
import asyncio
import math
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import requests
from urllib3 import encode_multipart_formdata

import demo
from shared.settings import Settings
from tests.nginx import Nginx, pools
from tests.stack import Stack, free_port, rq_command

PAUSES = (5.0, 30.0, 60.0)
"""Pauses between two requests, in seconds: gunicorn, HAProxy and nginx close idle connections after these
times."""

SPREAD = 0.01
"""Share by which a pause is shorter or longer than its value in `PAUSES`."""

PROXY_SECONDS = 60.0
"""Time for which nginx keeps an idle connection, and for which nginx waits for an answer, in seconds."""

HOLD_SECONDS = 1
"""Time after which the gateway answers. All callers wait during this time, so each has its own connection."""

QUEUE_CALLERS = 8
"""Number of callers with each kind of request whose result takes longer than nginx waits."""

FORM, FORM_TYPE = encode_multipart_formdata({"blob": ("image", (demo.SAMPLES / "siete.jpg").read_bytes())})


def post(prefer: str = "") -> bytes:
    """Return a request for an answer of /classify. A proxy does not repeat a POST request."""
    lines = ("POST /classify HTTP/1.1", "Host: gateway", f"Content-Type: {FORM_TYPE}", prefer)
    head = "\r\n".join([*filter(None, lines), f"Content-Length: {len(FORM)}", "", ""])
    return head.encode() + FORM


@dataclass
class Report:
    """What the callers received. A key of `answers` has the kind of the caller, the status and the type."""

    answers: Counter[str] = field(default_factory=Counter)
    expected: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    errors: str = ""

    def faults(self) -> list[str]:
        """Return the answers that differ from the expected answers, and nginx' error messages."""
        differences = {"not expected": self.answers - self.expected, "missing": self.expected - self.answers}
        return [
            *(f"{n:7,} {how}: {each}" for how, found in differences.items() for each, n in found.items()),
            *self.errors.splitlines(),
        ]


class Caller:
    """One caller, who keeps one connection and never closes it first."""

    def __init__(self, kind: str, port: int, report: Report) -> None:
        self.kind, self.port, self.report = kind, port, report

    async def send(self, request: bytes, pauses: list[float], wanted: str) -> None:
        """Send one request more than there are pauses; count the answers."""
        self.report.expected[f"{self.kind}: {wanted}"] += len(pauses) + 1
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for pause in [*pauses, None]:
            try:
                writer.write(request)
                answer = await _answer(reader)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                answer = f"connection ended: {type(error).__name__}"
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            self.report.answers[f"{self.kind}: {answer}"] += 1
            await asyncio.sleep(pause or 0)
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> str:
    """Read an answer; return its status and its type."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    await reader.readexactly(int(headers["content-length"]))
    return f"{head[0].split()[1]} {headers['content-type']}"


@dataclass(frozen=True)
class Plan:
    """How many requests are sent, and how long it takes. All times are multiplied by `scale`."""

    requests: int
    seconds: float
    scale: float
    keep_alive: float
    """The gateway's `SERVER_KEEP_ALIVE_SECONDS`, before the multiplication."""

    def pauses(self, pause: float) -> list[float]:
        """Return a caller's pauses, as many as fit into the time."""
        rounds = max(int(self.seconds / (pause * self.scale * (1 + SPREAD) + HOLD_SECONDS)), 1)
        spread = (random.uniform(1 - SPREAD, 1 + SPREAD) for _ in range(rounds))
        return [pause * self.scale * each for each in spread]

    def callers(self, pause: float) -> int:
        """Return the number of callers through nginx with this pause."""
        return math.ceil(self.requests / len(PAUSES) / (len(self.pauses(pause)) + 1))


@contextmanager
def suspended_service(plan: Plan) -> Iterator[Stack]:
    """Run a service that accepts jobs and runs none."""
    stack = Stack(
        SCHEDULER_QUEUE_SIZE=4 * plan.requests,
        REQUEST_TIMEOUT=Settings().request_timeout * plan.scale,
        SERVER_KEEP_ALIVE_SECONDS=round(plan.keep_alive * plan.scale),
    )
    try:
        stack.start_worker()
        rq_command(stack.valkey.url, "suspend")
        yield stack
    finally:
        stack.close()


async def call(plan: Plan, stack: Stack, ports: list[int], report: Report) -> None:
    """Send all requests at the same time, those for a full queue too."""
    short = post(f"Prefer: wait={HOLD_SECONDS}")
    calls = []
    for pause, port in zip(PAUSES, ports, strict=True):
        callers = plan.callers(pause)
        for kind, target, count in (("nginx", port, callers), ("direct", stack.port, callers // 4 + 1)):
            caller = Caller(f"{kind}, pause {pause:g} s", target, report)
            calls += [caller.send(short, plan.pauses(pause), "202 application/json") for _ in range(count)]
    long = Caller("nginx, long queue", ports[0], report)
    submitted = requests.post(f"{stack.url}/jobs", FORM, headers={"Content-Type": FORM_TYPE}, timeout=30)
    wait = f"?wait={Settings().request_timeout * plan.scale:g}"
    poll = f"GET {submitted.json()['jobs'][0]['href']}{wait} HTTP/1.1\r\nHost: gateway\r\n\r\n"
    for _ in range(QUEUE_CALLERS):
        calls.append(long.send(post(), [], "504 application/problem+json"))
        calls.append(long.send(post("Prefer: wait=90"), [], "202 application/json"))
        calls.append(long.send(poll.encode(), [], "200 application/json"))
    await asyncio.gather(*calls)


def check(plan: Plan) -> Report:
    """Run the service behind nginx, and send the requests of the plan."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    report, patience = Report(), f"{1000 * PROXY_SECONDS * plan.scale:.0f}ms"
    default = plan.scale == 1  # then nginx has its own defaults
    try:
        with suspended_service(plan) as stack:
            limits, pool = f"proxy_read_timeout {patience};", f"keepalive_timeout {patience};"
            ports = [free_port() for _ in PAUSES]
            servers = pools(stack.port, ports, "" if default else pool)
            nginx = Nginx(servers, ports[0], "" if default else limits)
            try:
                asyncio.run(call(plan, stack, ports, report))
                report.errors = nginx.errors()
                report.connections = connections(stack)
            finally:
                nginx.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return report


def connections(stack: Stack) -> int:
    """Return the number of the gateway's open connections."""
    processes = psutil.Process(stack.gateway.pid).children()
    found = [each for process in processes for each in process.net_connections("tcp4")]
    return sum(each.laddr.port == stack.port and each.status == "ESTABLISHED" for each in found)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.keepalive", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="number of requests through nginx")
    parser.add_argument("--seconds", type=float, default=300.0, help="time for the requests")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of all time limits and pauses")
    keep_alive = Settings().keep_alive_seconds
    parser.add_argument("--keep-alive", type=float, default=keep_alive, help="SERVER_KEEP_ALIVE_SECONDS")
    plan, started = Plan(**vars(parser.parse_args())), time.monotonic()
    report = check(plan)
    for answer, count in sorted(report.answers.items()):
        print(f"{count:7,} {answer}")
    print(f"{time.monotonic() - started:.0f} s; {report.connections} connections in nginx' pools at the end")
    print("\n".join(report.faults()) or "no fault")
    return bool(report.faults())


if __name__ == "__main__":
    sys.exit(main())
