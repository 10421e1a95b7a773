"""gunicorn's gevent workers against its threads, for this gateway: `python -m bench.gateway_class`.

Both serve the demo model from the same Redis and worker, in turn, in one run: a closed loop of clients asks
for /health/live (nothing but HTTP) and for /classify (which waits for an answer). Printed for each: requests
a second, the gateway's CPU milliseconds a request, and its resident memory.
"""

import http.client
import statistics
import threading
import time

import psutil

import demo
from tests.stack import Stack

CLIENTS, SECONDS, ROUNDS = 64, 4.0, 3
CLASSES = {"gevent": ["-k", "gevent"], "gthread": ["-k", "gthread", "--threads", str(128 + 32)]}
IMAGE = (demo.SAMPLES / "digits" / "7.png").read_bytes()
FORM = (
    b'--x\r\nContent-Disposition: form-data; name="blob"; filename="7.png"\r\n\r\n' + IMAGE + b"\r\n--x--\r\n"
)
CALLS = {
    "live": ("GET", "/health/live", b"", {}),
    "classify": ("POST", "/classify", FORM, {"Content-Type": "multipart/form-data; boundary=x"}),
}


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of a process and its children so far."""
    everyone = [process, *process.children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in everyone)


def load(port: int, call: str) -> list[float]:
    """Ask in a closed loop; return each request's milliseconds."""
    method, path, body, headers = CALLS[call]
    end, times = time.monotonic() + SECONDS, []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while time.monotonic() < end:
            start = time.monotonic()
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            times.append((time.monotonic() - start) * 1000)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def measure(stack: Stack, name: str, call: str) -> tuple[float, float, float, float]:
    """Requests a second, CPU ms a request, p99 ms and MB of a gateway of that class."""
    gateway = stack.start(
        "gateway",
        "gunicorn",
        *CLASSES[name],
        "-c",
        "python:gateway.gunicorn_conf",
        "gateway.app:create_app()",
    )
    stack.wait_ready()
    process = psutil.Process(gateway.pid)
    load(stack.port, call)  # warm
    before = cpu_seconds(process)
    times = load(stack.port, call)
    cpu = (cpu_seconds(process) - before) * 1000 / len(times)
    memory = max(each.memory_info().rss for each in process.children()) / 1e6
    gateway.terminate()
    gateway.wait()
    return len(times) / SECONDS, cpu, statistics.quantiles(times, n=100)[98], memory


def main() -> None:
    """Print the table: medians of the rounds."""
    stack = Stack()
    try:
        stack.start_worker()
        stack.gateway.terminate()
        stack.gateway.wait()
        print(f"{'call':10}{'class':10}{'requests/s':>12}{'CPU ms':>9}{'p99 ms':>9}{'MB':>6}")
        for call in CALLS:
            rounds = {name: [] for name in CLASSES}
            for _ in range(ROUNDS):
                for name in CLASSES:
                    rounds[name].append(measure(stack, name, call))
            for name, found in rounds.items():
                rate, cpu, p99, memory = (statistics.median(column) for column in zip(*found, strict=True))
                print(f"{call:10}{name:10}{rate:12.0f}{cpu:9.2f}{p99:9.1f}{memory:6.0f}")
    finally:
        stack.close()


if __name__ == "__main__":
    main()
