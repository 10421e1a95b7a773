"""The Python client on the real service."""

import asyncio
import re
import subprocess
import sys

import pytest

import demo
from classification_client import AsyncClient, Client, JobFailed, Outcome, Problem, TimedOut
from tests.stack import ROOT, Stack

SEVEN, THREE = demo.SAMPLES / "siete.jpg", demo.SAMPLES / "tres-regiones.jpg"
SQUARES = [(40, 40, 220), (390, 60, 200), (245, 300, 150)]
DIGITS = sorted((demo.SAMPLES / "digits").iterdir())
DOC = (ROOT / "docs" / "client.md").read_text()


def names(outcomes: list[Outcome]) -> dict[str, str]:
    return {str(each.source)[-5:]: each.result().best.class_name.split()[1] for each in outcomes}


SPECIES = ["nullus", "unus", "duo", "tres", "quattuor", "quinque", "sex", "septem", "octo", "novem"]
RIGHT = {f"{number}.png": species for number, species in enumerate(SPECIES)}


def test_a_photo_and_its_regions_are_classified(stack: Stack) -> None:
    with Client(stack.url) as client:
        answer = client.classify(SEVEN, top_n=2)
        assert answer.best.class_name == "Digitus septem albus"
        assert answer.best.score > 0.99 and answer.best.accepted and answer.best.threshold == 0.5
        assert len(answer.regions[0].predictions) == 2 and answer.regions[0].square is None
        assert answer.model == client.config()["model"]
        assert answer.precision == client.config()["precision"] == "float32"
        answer = client.classify(THREE.read_bytes(), regions=SQUARES, consolidate=True)
    assert [region.square for region in answer.regions] == SQUARES
    assert answer.consolidated is not None
    assert [each.name for each in answer.consolidated] == ["Digitus septem", "Digitus duo"]


def test_jobs_are_submitted_and_waited_for(stack: Stack) -> None:
    with Client(stack.url) as client:
        ids = client.submit([*DIGITS, THREE], regions=None, top_n=1)
        jobs = client.wait(ids, timeout=30)
        assert [job.id for job in jobs] == ids and all(job.attempts == 1 for job in jobs)
        found = [job.result().best.class_name.split()[1] for job in jobs[:10]]
        assert found == SPECIES
        assert client.job(ids[0]).status == "finished" and not client.cancel(ids[0])


def test_a_folder_is_mapped_and_a_file_that_is_no_photo_is_reported(stack: Stack) -> None:
    with Client(stack.url) as client:
        outcomes = list(client.map(demo.SAMPLES))
        (wrong,) = client.map([demo.EXPECTED])  # skipped in a folder, but named here
    assert names([each for each in outcomes if each.source in DIGITS]) == RIGHT
    assert not [each for each in outcomes if each.error]
    assert isinstance(wrong.error, Problem) and wrong.error.status == 415
    assert "JSON text" in wrong.error.detail


def test_the_async_client_does_the_same(stack: Stack) -> None:
    async def run() -> list[Outcome]:
        async with AsyncClient(stack.url) as client:
            one, two = await asyncio.gather(client.classify(SEVEN), client.classify(DIGITS[3]))
            assert (one.best.class_name.split()[1], two.best.class_name.split()[1]) == ("septem", "tres")
            jobs = await client.wait(await client.submit([SEVEN]), timeout=30)
            assert jobs[0].result().best == one.best
            assert (await client.job(jobs[0].id)).ended and not await client.cancel(jobs[0].id)
            assert (await client.config())["workers"] == 1
            return [each async for each in client.map(DIGITS)]

    assert names(asyncio.run(run())) == RIGHT


def test_the_servers_error_is_raised(stack: Stack) -> None:
    with Client(stack.url) as client:
        with pytest.raises(Problem) as refused:
            client.classify(SEVEN, regions=[(300, 200, 100)])
        assert refused.value.status == 422 and "inside the image" in refused.value.fields["regions"]
        with pytest.raises(Problem, match="There is no job"):
            client.job("0" * 32)


def test_without_a_worker_a_job_waits_and_can_be_canceled() -> None:
    stack = Stack(API_KEYS="0123456789abcdef")
    try:
        with Client(stack.url, key="0123456789abcdef") as client:
            (job_id,) = client.submit([SEVEN])
            with pytest.raises(TimedOut, match=r"1 of 1 jobs had not ended within 0\.1 s"):
                client.wait([job_id], timeout=0.1)
            assert client.cancel(job_id)
            (job,) = client.wait([job_id], timeout=5)
            with pytest.raises(JobFailed):
                job.result()
        with Client(stack.url, key="another") as stranger, pytest.raises(Problem, match="401"):
            stranger.submit([SEVEN])
        with Client(stack.url, key="0123456789abcdef", patience=0) as hasty:
            with pytest.raises(Problem) as refused:
                hasty.classify(SEVEN)
            assert refused.value.status == 503 and refused.value.retry_after
    finally:
        stack.close()


EXAMPLES = [block for block in re.findall(r"(?:^(?: {4}.*)?\n)+", DOC, re.M) if "import " in block]


@pytest.mark.parametrize("example", EXAMPLES, ids=["blocking", "async"])
def test_the_examples_of_the_documentation_run(stack: Stack, example: str) -> None:
    program = re.sub("^    ", "", example, flags=re.M).replace("http://localhost:8001", stack.url)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    expected = re.findall(r"# prints: (.+)", example)
    assert expected and all(each in done.stdout for each in expected), done.stdout
