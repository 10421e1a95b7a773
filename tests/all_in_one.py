"""What `make compose-test` asks of the image of all in one: the original's command, then a strict one."""

import contextlib
import subprocess
import time
from collections.abc import Iterator

from tests.compose import EXPECTED, SAMPLES, ask, classify, docker, eventually

URL = "http://127.0.0.1:8002"
MODEL = [
    word
    for name in ("model.h5", "classes.txt", "thresholds.csv")
    for word in ("-v", f"{SAMPLES.parent / name}:/{name}")
]


@contextlib.contextmanager
def running(*options: str) -> Iterator[str]:
    """A container, started as the original's users do, that serves; it is gone afterwards, come what may."""
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
    eventually(lambda: ask("/health/ready", url=URL)["status"] == "ready", 120, "the container is ready")


def stop(container: str, *flags: str) -> None:
    """Stop it; it must not have to be killed."""
    with subprocess.Popen(["docker", "wait", container], stdout=subprocess.PIPE, text=True) as waiting:
        start = time.monotonic()
        docker("stop", *flags, container)
        status = waiting.communicate(timeout=30)[0].strip()
    assert status == "0", f"told to stop, it ended with status {status}"
    print(f"stopped in {time.monotonic() - start:.1f} s")


def main() -> None:
    with running("--rm", "-e", "INPUT_BATCH=64") as container:
        assert ask("/cfg", url=URL)["input_batch"] == 64
        for name in EXPECTED:
            classify(name, URL)
        stop(container)
    print("the original's command serves")
    with running("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--user", "12345") as container:
        classify("siete.jpg", URL)
        asked = ask("/jobs", [("blob", "x", (SAMPLES / "siete.jpg").read_bytes())] * 100, URL)["jobs"]
        stop(container, "-t", "60")
        docker("start", container)
        wait_ready()
        for job in asked:
            told = ask(f"/jobs/{job['id']}?wait=60", url=URL)
            assert told["status"] == "finished", told
    print("what was queued at a stop is done after the next start")


if __name__ == "__main__":
    main()
