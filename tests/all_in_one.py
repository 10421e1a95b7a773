"""What `make compose-test` asks of the image of all in one: the original's command, then a strict one."""

import subprocess
import time

from tests.compose import EXPECTED, SAMPLES, ask, classify, docker, eventually

URL = "http://127.0.0.1:8002"
MODEL = [
    word
    for name in ("model.h5", "classes.txt", "thresholds.csv")
    for word in ("-v", f"{SAMPLES.parent / name}:/{name}")
]


def run(*options: str) -> str:
    """Start a container as the original's users do, and return its id when it serves."""
    container = docker("run", "-d", *options, "-p", "8002:8001", *MODEL, "classification-server")
    try:
        eventually(lambda: ask("/health/ready", url=URL)["status"] == "ready", 120, "the container is ready")
    except SystemExit:
        print(docker("logs", container))
        raise
    return container


def main() -> None:
    container = run("--rm", "-e", "INPUT_BATCH=64")
    assert ask("/cfg", url=URL)["input_batch"] == 64
    for name in EXPECTED:
        classify(name, URL)
    docker("stop", container)
    container = run("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--user", "12345")
    classify("siete.jpg", URL)
    asked = ask("/jobs", [("blob", "x", (SAMPLES / "siete.jpg").read_bytes())] * 100, URL)["jobs"]
    start = time.monotonic()
    subprocess.run(["docker", "stop", "-t", "60", container], check=True, capture_output=True)
    status = docker("inspect", "--format", "{{.State.ExitCode}}", container)
    assert status == "0", f"told to stop, it ended with status {status}"
    print(f"stopped in {time.monotonic() - start:.1f} s")
    docker("start", container)
    eventually(lambda: ask("/health/ready", url=URL)["status"] == "ready", 120, "it is ready again")
    for job in asked:
        told = ask(f"/jobs/{job['id']}?wait=60", url=URL)
        assert told["status"] == "finished", told
    docker("rm", "--force", "--volumes", container)
    print("the original's command serves; what was queued at a stop is done after the next start")


if __name__ == "__main__":
    main()
