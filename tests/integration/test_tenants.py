"""Two keys on one server: a caller can neither see, cancel nor notice the other caller's jobs."""

import io
import re

import pytest
from redis import Redis

from shared.queue import BULK, INTERACTIVE
from shared.queue.messages import Reply, Settlement
from shared.settings import Settings
from tests.asgi_client import AsgiClient
from tests.bad_input import encoded
from tests.integration.test_auth import guarded
from tests.integration.test_gateway import RESULT
from tests.job_queue import JobQueue

ONE, TWO = ({"X-API-Key": digit * 16} for digit in "12")
ENTRIES = (f"one:{'1' * 16}", f"two:{'2' * 16}")


@pytest.fixture
def client(redis: Redis) -> AsgiClient:
    return guarded(redis, *ENTRIES, result_cache_ttl=60)


def submit(client: AsgiClient, who: dict[str, str], **more: str) -> tuple[str, bool]:
    """The job's id, and whether the job existed before."""
    form = {"blob": (io.BytesIO(encoded()), "p.jpg")}
    answer = client.post("/jobs", data=form, headers=who | more)
    assert answer.status_code == 202
    return str(answer.json["jobs"][0]["id"]), "Idempotency-Replayed" in answer.headers


def run(redis: Redis) -> int:
    """Simulate the worker: finish the waiting jobs."""
    queue = JobQueue(redis, Settings(result_cache_ttl=60))
    claims = queue.claim("w1", {INTERACTIVE: 32, BULK: 32}, idle=True).jobs
    queue.settle("w1", [Settlement(each, Reply(each.job_id, RESULT)) for each in claims], "m")
    return len(claims)


def test_an_id_has_128_random_bits(client: AsgiClient) -> None:
    ids = [submit(client, ONE)[0] for _ in range(50)]
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
    for place in range(32):
        assert len({each[place] for each in ids}) > 4, "a place that hardly differs can be guessed"


@pytest.mark.parametrize("has_ended", [False, True])
def test_another_callers_job_looks_like_a_job_that_never_existed(
    redis: Redis, client: AsgiClient, has_ended: bool
) -> None:
    job, _ = submit(client, ONE)
    if has_ended:
        assert run(redis) == 1
    never = "0" * 32

    def answers_of(job_id: str) -> list[object]:
        answers = [
            client.get(f"/jobs/{job_id}", headers=TWO),
            client.get(f"/jobs/{job_id}?wait=0.2", headers=TWO),
            client.get(f"/jobs?ids={job_id}", headers=TWO),
            client.get(f"/jobs?ids={job_id}&wait=0.2", headers=TWO),
            client.delete(f"/jobs/{job_id}", headers=TWO),
        ]
        return [(each.status_code, each.text.replace(job_id, "ID")) for each in answers]

    assert answers_of(job) == answers_of(never)
    status = "finished" if has_ended else "queued"
    assert client.get(f"/jobs/{job}", headers=ONE).json["status"] == status


def test_a_wait_for_another_callers_job_does_not_end_with_it(redis: Redis, client: AsgiClient) -> None:
    job, _ = submit(client, ONE)
    client.get(f"/jobs?ids={job}&wait=0.1", headers=TWO)
    assert not redis.hget(f"rq:job:{job}", "reply_to"), "its end would be sent to the other's request"


def test_jobs_are_not_listed(client: AsgiClient) -> None:
    job, _ = submit(client, ONE)
    for path in ("/jobs", "/jobs/", "/jobs?ids=", "/jobs?ids=*", "/jobs/*", "/metrics", "/cfg", "/"):
        for who in (ONE, TWO):
            assert job not in client.get(path, headers=who).text, path


def test_each_caller_has_its_own_idempotency_keys(client: AsgiClient) -> None:
    same = {"Idempotency-Key": "monday"}
    first, again = submit(client, ONE, **same), submit(client, ONE, **same)
    other = submit(client, TWO, **same)
    assert again == (first[0], True)
    assert not other[1] and other[0] != first[0]


def test_a_stored_answer_belongs_to_its_caller(redis: Redis, client: AsgiClient) -> None:
    """Otherwise `Cache-Status` and the speed would reveal that another caller has sent this image."""
    submit(client, ONE)
    submit(client, TWO)
    assert run(redis) == 2, "jobs in flight are not shared"
    again = client.get(f"/jobs/{submit(client, ONE)[0]}", headers=ONE)
    assert again.json["status"] == "finished" and "hit" in again.headers["Cache-Status"]
    redis.delete(*redis.keys("classification:result:*"))
    submit(client, ONE)
    assert run(redis) == 1
    other = client.get(f"/jobs/{submit(client, TWO)[0]}", headers=TWO)
    assert other.json["status"] == "queued" and "hit" not in other.headers["Cache-Status"]
