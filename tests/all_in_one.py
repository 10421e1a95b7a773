"""Test the all-in-one image (`make compose-test`): the original command, then a restricted container."""

import contextlib
import subprocess
import time
from collections.abc import Iterator

from tests.compose import EXPECTED, SAMPLES, classify, docker, eventually, request_json

URL = "http://127.0.0.1:8002"
MODEL = [
    word
    for name in ("model.h5", "classes.txt", "thresholds.csv")
    for word in ("-v", f"{SAMPLES.parent / name}:/{name}")
]


@contextlib.contextmanager
def running(*options: str) -> Iterator[str]:
    """A ready container, started as by users of the original; it is always removed afterwards."""
    container = docker("run", "-d", *options, "-p", "8002:8001", *MODEL, "classification-server")
    try:
        wait_ready()
        yield container
    except BaseException:
        print(docker("logs", container, check=False))
        raise
    finally:
        docker("rm", "--force", "--volumes", container, check=False)


def wait_ready() -> None:
    eventually(
        lambda: request_json("/health/ready", url=URL)["status"] == "ready", 120, "the container is ready"
    )


def stop(container: str, *flags: str) -> None:
    """Stop the container; Docker must not have to kill it."""
    with subprocess.Popen(["docker", "wait", container], stdout=subprocess.PIPE, text=True) as waiting:
        start = time.monotonic()
        docker("stop", *flags, container)
        status = waiting.communicate(timeout=30)[0].strip()
    assert status == "0", f"the stopped container exited with status {status}"
    print(f"stopped in {time.monotonic() - start:.1f} s")


def main() -> None:
    with running("--rm", "-e", "INPUT_BATCH=64") as container:
        assert request_json("/cfg", url=URL)["input_batch"] == 64
        for name in EXPECTED:
            classify(name, URL)
        stop(container)
    print("the original command works")
    with running("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--user", "12345") as container:
        classify("siete.jpg", URL)
        jobs = request_json("/jobs", [("blob", "x", (SAMPLES / "siete.jpg").read_bytes())] * 100, URL)["jobs"]
        stop(container, "-t", "60")
        docker("start", container)
        wait_ready()
        for job in jobs:
            state = request_json(f"/jobs/{job['id']}?wait=55", url=URL)
            assert state["status"] == "finished", state
    print("jobs queued at the stop finished after the next start")


if __name__ == "__main__":
    main()
