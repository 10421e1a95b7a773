"""The headers that every response has."""

import pytest
from redis import Redis

from tests.integration.test_gateway import make


@pytest.mark.parametrize(
    ("path", "status"),
    [("/classes", 200), ("/openapi.json", 200), ("/health/live", 200), ("/nowhere", 404), ("/classify", 405)],
)
def test_an_answer_is_not_a_page_and_is_not_stored(redis: Redis, path: str, status: int) -> None:
    answer = make(redis).get(path)
    assert answer.status_code == status
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_page_runs_only_scripts_of_this_server(redis: Redis) -> None:
    answer = make(redis).get("/docs")
    policy = dict(each.strip().split(" ", 1) for each in answer.headers["Content-Security-Policy"].split(";"))
    assert answer.mimetype == "text/html"
    assert policy["default-src"] == "'self'" and policy["img-src"] == "'self' blob: data:"
    assert "script-src" not in policy and "unsafe" not in str(policy)
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"


def test_a_cached_page_keeps_its_policy(redis: Redis) -> None:
    client = make(redis)
    tag = client.get("/").headers["ETag"]
    again = client.get("/", headers={"If-None-Match": tag})
    assert again.status_code == 304 and "Content-Security-Policy" not in again.headers
