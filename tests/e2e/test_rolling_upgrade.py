"""Parts of an older commit and of the present code work together on one Redis, as during an upgrade."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests

import demo
from tests.e2e.test_classify import DIGITS, best, digit_class
from tests.stack import ROOT, Stack, eventually, free_port
from worker.thresholds_file import header

OLD_COMMIT = "44803225e765d12f7660e120bac81659109c8b57"
OLD_GATEWAY = ("gunicorn", "-c", "python:gateway.gunicorn_conf", "gateway.app:create_app()")
JOBS_PER_FORM = 50
MIN_JOBS, MAX_JOBS = 300, 3000
"""Number of jobs that an old and a new worker share; the test submits more until each worker took some."""

Jobs = dict[str, int]
"""The digits that the images show, by the ids of their jobs."""


@pytest.fixture(scope="module")
def old_tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the files of the old commit."""
    if shutil.which("git") is None or git("cat-file", "-e", f"{OLD_COMMIT}^{{commit}}").returncode:
        pytest.skip(f"the commit {OLD_COMMIT[:7]} is not in the history of this folder")
    tree = tmp_path_factory.mktemp("upgrade") / "old"
    added = git("worktree", "add", "--detach", str(tree), OLD_COMMIT)
    assert added.returncode == 0, added.stderr
    yield tree
    git("worktree", "remove", "--force", str(tree))


@pytest.fixture(scope="module")
def fleet(old_tree: Path) -> Iterator["Fleet"]:
    running = Fleet(old_tree)
    try:
        running.wait_for_workers(0)
        yield running
    finally:
        running.stack.close()


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)


class Fleet:
    """A gateway of the old code and a gateway of the new code on one Redis, and workers of either code."""

    def __init__(self, old_tree: Path) -> None:
        # The result cache has Redis keys of its own, and a short lease hands on the jobs of a killed worker.
        # Old workers read thresholds files with a provenance too.
        thresholds = old_tree.with_name("thresholds.csv")
        rows = demo.THRESHOLDS.read_text().partition("\n")[2]
        thresholds.write_text(",".join(header({"model": "0" * 64, "precision": "float32"})) + "\n" + rows)
        self.stack = Stack(RESULT_CACHE_TTL=600, JOB_LEASE=5, INFERENCE_THRESHOLDS_FILE=thresholds)
        self.old_tree = old_tree
        self.old_environ = self.stack.environ | {"PYTHONPATH": str(old_tree)}
        self.numbers = count()
        port = free_port()
        self.urls = {"old": f"http://127.0.0.1:{port}", "new": self.stack.url}
        self.start_old(*OLD_GATEWAY, SERVER_PORT=str(port))

    def start_old(self, module: str, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        """Run a module of the old commit as a process; the stack ends it with its own processes."""
        with open(self.stack.folder / f"old-{module}-{len(self.stack.processes)}.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=self.old_tree,
                env=self.old_environ | environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.stack.processes.append(process)
        return process

    def start_worker(self, code: str) -> subprocess.Popen[bytes]:
        return self.start_old("worker") if code == "old" else self.stack.start_worker(wait=False)

    def wait_for_workers(self, number: int) -> None:
        """Return when both gateways count that many workers."""
        for code, url in self.urls.items():
            eventually(
                lambda url=url: workers(url) == number, 60, f"the {code} gateway counts {number} workers"
            )

    def images(self, number: int) -> list[tuple[int, bytes]]:
        """Return digits and their images; no two images are equal, and some are too large for the scripts."""
        chosen = [next(self.numbers) for _ in range(number)]
        return [
            (each % 10, DIGITS[each % 10].read_bytes() + bytes(70_000 * (each % 7 == 0)) + str(each).encode())
            for each in chosen
        ]

    def submit(self, code: str, images: list[bytes], **headers: str) -> requests.Response:
        files = [("blob", ("photo", image)) for image in images]
        answer = requests.post(f"{self.urls[code]}/jobs", files=files, headers=headers, timeout=30)
        assert answer.status_code == 202, answer.text
        return answer

    def submit_digits(self, code: str) -> Jobs:
        digits, images = zip(*self.images(JOBS_PER_FORM), strict=True)
        return dict(zip(ids(self.submit(code, images)), digits, strict=True))

    def classify(self, code: str) -> bool:
        """Classify a digit through a gateway; return whether the answer is right."""
        ((digit, image),) = self.images(1)
        return best(self.ask(code, image).json()) == [digit_class(DIGITS[digit])]

    def ask(self, code: str, image: bytes) -> requests.Response:
        answer = requests.post(f"{self.urls[code]}/classify", files={"blob": image}, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer

    def job(self, job_id: str, wait: int = 30) -> dict[str, Any]:
        """Return the job as the new gateway shows it; the old gateway must show the same."""
        old, new = (
            requests.get(f"{url}/jobs/{job_id}?wait={wait}", timeout=40) for url in self.urls.values()
        )
        assert old.status_code == new.status_code == 200
        assert old.json() == new.json()
        return dict(new.json())

    def check(self, jobs: Jobs) -> None:
        """See that every job has ended with the right answer."""
        for job_id, digit in jobs.items():
            job = self.job(job_id)
            assert job["status"] == "finished", job
            (region,) = job["result"]["regions"]
            assert region["predictions"][0]["class"] == digit_class(DIGITS[digit])

    def workers_of(self, jobs: Jobs) -> set[bytes]:
        """Return the names of the workers that have taken any of the jobs."""
        names = {self.stack.valkey.client.hget(f"rq:job:{job_id}", "worker_name") for job_id in jobs}
        return {name for name in names if name}


def ids(answer: requests.Response) -> list[str]:
    return [job["id"] for job in answer.json()["jobs"]]


def workers(url: str) -> int:
    """Return the number of workers that a gateway counts; -1 while the gateway does not answer."""
    try:
        answer = requests.get(f"{url}/cfg", timeout=5)
    except requests.RequestException:
        return -1
    return int(answer.json()["workers"]) if answer.ok else 0


def stop(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    assert worker.wait(30) == 0


def test_the_old_parts_run_the_old_code(fleet: Fleet) -> None:
    script = "import gateway, shared, worker; print(gateway.__file__, shared.__file__, worker.__file__)"
    command = [sys.executable, "-c", script]
    output = subprocess.check_output(command, cwd=fleet.old_tree, env=fleet.old_environ, text=True)
    assert [Path(path).parent.parent for path in output.split()] == [fleet.old_tree] * 3


@pytest.mark.parametrize(("first", "second"), [("old", "new"), ("new", "old")])
def test_jobs_of_one_gateway_wait_for_a_worker_of_the_other_code(
    fleet: Fleet, first: str, second: str
) -> None:
    images = fleet.images(20)
    digits, files = zip(*images, strict=True)
    submitted = fleet.submit(first, files, **{"Idempotency-Key": f"walk of the {first} gateway"})
    jobs = dict(zip(ids(submitted), digits, strict=True))
    repeated = fleet.submit(second, files, **{"Idempotency-Key": f"walk of the {first} gateway"})
    assert ids(repeated) == ids(submitted) and repeated.headers["Idempotency-Replayed"] == "true"

    canceled = [*jobs][7]
    assert {fleet.job(each, wait=0)["status"] for each in jobs} == {"queued"}
    answer = requests.delete(f"{fleet.urls[second]}/jobs/{canceled}", timeout=10)
    assert answer.json() == {"id": canceled, "status": "canceled"}
    (damaged,) = ids(fleet.submit(first, [files[0][:5000]]))

    worker = fleet.start_worker(second)
    fleet.wait_for_workers(1)
    fleet.check({job_id: digit for job_id, digit in jobs.items() if job_id != canceled})
    assert fleet.job(canceled)["status"] == "canceled"
    assert fleet.job(damaged)["error"]["code"] == "image-damaged"

    assert fleet.classify(first) and fleet.classify(second)
    ((_, image),) = fleet.images(1)
    stored, hit = fleet.ask(first, image), fleet.ask(second, image)
    assert "stored" in stored.headers["Cache-Status"] and "hit" in hit.headers["Cache-Status"]
    assert stored.json() == hit.json()
    stop(worker)
    fleet.wait_for_workers(0)


@pytest.mark.parametrize(("killed", "survivor"), [("old", "new"), ("new", "old")])
def test_workers_of_both_codes_share_a_queue_and_nothing_is_lost(
    fleet: Fleet, killed: str, survivor: str
) -> None:
    running = {code: fleet.start_worker(code) for code in (killed, survivor)}
    fleet.wait_for_workers(2)
    jobs: Jobs = {}
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(fleet.classify, code) for code in ("old", "new") * 50]
        while len(jobs) < MIN_JOBS or (len(fleet.workers_of(jobs)) < 2 and len(jobs) < MAX_JOBS):
            jobs |= fleet.submit_digits("old") | fleet.submit_digits("new")
        assert all(call.result() for call in calls)
    fleet.check(jobs)
    assert len(fleet.workers_of(jobs)) == 2

    jobs = fleet.submit_digits("old") | fleet.submit_digits("new")
    running[killed].kill()
    jobs |= fleet.submit_digits("old") | fleet.submit_digits("new")
    assert fleet.classify("old") and fleet.classify("new")
    fleet.check(jobs)
    stop(running[survivor])
    fleet.wait_for_workers(0)
