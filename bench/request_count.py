"""What counting a request for /metrics costs the gateway: `python -m bench.request_count`.

The app answers /health/live, without gunicorn, in turn with the counting and without it, in one run; the
counts go to files, as under gunicorn. Printed: the medians of the rounds, in CPU microseconds a request.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

REQUESTS, ROUNDS = 2000, 15


def main() -> None:
    """Measure and print."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # before the import that looks for it
        from werkzeug.test import EnvironBuilder

        import gateway.app
        from shared.connection import connect
        from shared.queue import JobQueue
        from shared.settings import Settings

        settings = Settings()
        app = gateway.app.create_app(settings, JobQueue(connect("redis://localhost"), settings))
        environ = EnvironBuilder(path="/health/live").get_environ()
        hooks = {"with": gateway.app.count_request, "without": lambda *request: None}
        times: dict[str, list[float]] = {name: [] for name in hooks}
        for _ in range(ROUNDS):
            for name, hook in hooks.items():
                gateway.app.count_request = hook
                start = time.process_time()
                for _ in range(REQUESTS):
                    b"".join(app(dict(environ), lambda *_: lambda _: None))
                times[name].append((time.process_time() - start) / REQUESTS * 1e6)
    counted, plain = (statistics.median(times[name]) for name in ("with", "without"))
    print(f"{counted:.1f} with, {plain:.1f} without, {counted - plain:.1f} for it ({counted / plain:.3f})")


if __name__ == "__main__":
    main()
