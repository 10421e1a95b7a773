"""API keys: the gateway's app on a real queue."""

import hmac
import io
import json
import logging

import pytest
from redis import Redis

from shared.api_keys import parse_keys
from shared.logs import JsonFormatter
from shared.queue.messages import Reply
from tests.asgi_client import AsgiClient
from tests.bad_input import encoded
from tests.integration.test_gateway import RESULT, make, post, worker

KEY, OTHER = "0123456789abcdef", "token/68+with~signs=="
HASH = parse_keys([KEY], "key")[0].digest.hex()


def guarded(redis: Redis, *entries: str, **settings: object) -> AsgiClient:
    return make(redis, api_keys=parse_keys([*entries] or [f"phone:{KEY}"], "key"), **settings)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/classes"),
        ("GET", "/status"),
        ("POST", "/classify"),
        ("POST", "/jobs"),
        ("GET", "/jobs/x"),
        ("DELETE", "/jobs/x"),
        ("OPTIONS", "/classify"),
        pytest.param("GET", "/nowhere", id="unknown path"),
        pytest.param("PUT", "/classify", id="wrong method"),
        pytest.param("GET", "/health/", id="not a probe"),
        pytest.param("POST", "/health/live", id="not a probe's method"),
    ],
)
def test_without_a_key_the_answer_reveals_nothing(redis: Redis, method: str, path: str) -> None:
    answer = guarded(redis).open(path, method=method)
    assert answer.status_code == 401 and answer.content_type == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "got none" in answer.json["detail"]
    assert "Authorization: Bearer KEY" in answer.json["detail"] and "X-API-Key: KEY" in answer.json["detail"]
    assert "paths" not in answer.text and "Allow" not in answer.headers


def test_the_page_needs_no_key_and_its_requests_need_one(redis: Redis) -> None:
    client = guarded(redis)
    assert [client.get(path).status_code for path in ("/", "/page/main.js", "/status")] == [200, 200, 401]


def test_probes_need_no_key(redis: Redis) -> None:
    client = guarded(redis)
    assert [client.get(f"/health/{probe}").status_code for probe in ("live", "ready")] == [200, 200]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {KEY} "},
        {"X-API-Key": KEY},
        pytest.param({"Authorization": "Basic eDp5", "X-API-Key": KEY}, id="with a proxy's"),
    ],
)
@pytest.mark.parametrize("entry", [f"phone:{KEY}", f"phone:sha256:{HASH}"])
def test_a_key_is_accepted_in_either_header(redis: Redis, entry: str, headers: dict[str, str]) -> None:
    client = guarded(redis, f"web:{OTHER}", entry)
    with worker(redis, Reply("", RESULT)):
        assert post(client, headers).status_code == 200
    assert client.get("/nowhere", headers=headers).status_code == 404


def test_each_of_several_keys_is_accepted(redis: Redis) -> None:
    client = guarded(redis, f"phone:{KEY}", OTHER)
    answers = [client.get("/classes", headers={"X-API-Key": key}) for key in (KEY, OTHER)]
    assert [each.status_code for each in answers] == [200, 200]


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ({"X-API-Key": KEY[:-1]}, "unknown key"),
        ({"X-API-Key": KEY.upper()}, "unknown key"),
        ({"X-API-Key": f"phone:{KEY}"}, "unknown key"),
        pytest.param({"X-API-Key": HASH}, "unknown key", id="the hash is no key"),
        pytest.param({"X-API-Key": f"sha256:{HASH}"}, "unknown key", id="nor with its name"),
        ({"Authorization": "Bearer ñ" + KEY}, "unknown key"),
        ({"Authorization": KEY}, "expected the form Bearer KEY"),
        ({"Authorization": "Bearer"}, "expected the form Bearer KEY"),
        ({"Authorization": f"Basic {KEY}"}, "expected the form Bearer KEY"),
        ({"X-API-Key": ""}, "got none"),
    ],
)
def test_a_wrong_key_is_refused_with_the_reason_and_not_repeated(
    redis: Redis, headers: dict[str, str], fault: str
) -> None:
    answer = guarded(redis, f"phone:{KEY}").get("/classes", headers=headers)
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
    assert fault in answer.json["detail"] and KEY[:8] not in answer.text


def test_a_key_in_the_url_is_ignored(redis: Redis) -> None:
    assert guarded(redis).get(f"/classes?api_key={KEY}&key={KEY}").status_code == 401


class Body:
    """A request's body that records whether it was read."""

    was_read = False

    def read(self, size: int = -1) -> bytes:
        self.was_read = True
        return b""

    readline = read


@pytest.mark.parametrize(("key", "is_read"), [(KEY, True), (KEY[::-1], False)])
def test_the_key_is_checked_before_the_body_is_read(redis: Redis, key: str, is_read: bool) -> None:
    body = Body()
    environ = {"wsgi.input": body, "CONTENT_LENGTH": "1000"}
    headers = {"X-API-Key": key, "Content-Type": "multipart/form-data; boundary=x"}
    guarded(redis).post("/classify", environ_overrides=environ, headers=headers)
    assert body.was_read is is_read


def test_every_key_is_compared_whichever_matches(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    true = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(a) or true(a, b))
    client = guarded(redis, KEY, OTHER, KEY[::-1])
    for sent in (KEY, OTHER, KEY[::-1], "x"):
        compared.clear()
        client.get("/classes", headers={"X-API-Key": sent})
        assert len(compared) == 3


def line(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    (record,) = [each for each in caplog.records if each.name == "gateway.app"]
    return json.loads(JsonFormatter().format(record))


def test_the_log_names_the_caller_and_never_the_key(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    guarded(redis).get("/classes", headers={"X-API-Key": KEY})
    found = line(caplog)
    assert (found["owner"], found["status"]) == ("phone", 200)
    assert KEY not in caplog.text + json.dumps(found) and HASH not in caplog.text


@pytest.mark.parametrize("is_guarded", [True, False])
def test_a_caller_without_a_key_has_no_name(
    redis: Redis, caplog: pytest.LogCaptureFixture, is_guarded: bool
) -> None:
    caplog.set_level(logging.INFO)
    (guarded(redis) if is_guarded else make(redis)).get("/classes")
    assert line(caplog)["owner"] == ""


def test_web_pages_may_send_a_key_and_read_the_refusal(redis: Redis) -> None:
    client, page = guarded(redis), {"Origin": "https://plants.example"}
    preflight = page | {"Access-Control-Request-Method": "POST"}
    with_headers = preflight | {"Access-Control-Request-Headers": "authorization, x-api-key"}
    answer = client.options("/classify", headers=preflight)
    assert answer.status_code == 204
    assert {"Authorization", "X-API-Key"} <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))
    answer = client.options("/classify", headers=with_headers)
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization, x-api-key"
    refused = client.get("/classes", headers=page)
    assert refused.headers["Access-Control-Allow-Origin"] == "*"
    assert "WWW-Authenticate" in refused.headers["Access-Control-Expose-Headers"].split(", ")


def test_a_job_is_visible_only_with_its_own_key(redis: Redis) -> None:
    client = guarded(redis, f"one:{'1' * 16}", f"two:{'2' * 16}")
    one, two = ({"X-API-Key": digit * 16} for digit in "12")
    form = {"blob": (io.BytesIO(encoded()), "p.jpg")}
    (job,) = client.post("/jobs", data=form, headers=one).json["jobs"]
    assert client.get(job["href"], headers=one).json["status"] == "queued"
    assert client.get(job["href"], headers=two).status_code == 404
    assert client.get(f"/jobs?ids={job['id']}", headers=two).json["jobs"][0]["status"] == "unknown"
    assert client.delete(job["href"], headers=two).status_code == 404
    assert client.delete(job["href"], headers=one).status_code == 200
