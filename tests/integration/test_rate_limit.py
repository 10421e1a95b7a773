"""Rate limits: the gateway's app and the counts on a real Redis server."""

import io
import time

import pytest
from redis import Redis
from werkzeug.test import TestResponse

from gateway.app import create_app
from shared.api_keys import parse_keys
from shared.redis_connection import connect
from shared.settings import Settings
from tests.asgi_client import AsgiClient
from tests.bad_input import encoded
from tests.integration.test_gateway import make, post
from tests.job_queue import JobQueue
from tests.valkey import Valkey

KEYS = {"phone": "0123456789abcdef", "web": "fedcba9876543210"}
NEW_KEY = "a-new-key-of-the-phone"


@pytest.fixture
def server(redis: Redis, valkey: Valkey) -> str:
    return valkey.url


def limited(redis: Redis, server: str, limit: str, **settings: object) -> AsgiClient:
    return make(redis, redis_url=server, rate_limit=limit, **settings)


def keyed(redis: Redis, server: str, limit: str) -> AsgiClient:
    entries = [*(f"{name}:{key}" for name, key in KEYS.items()), f"phone:{NEW_KEY}"]
    return limited(redis, server, limit, api_keys=parse_keys(entries, "key"))


def ask(client: AsgiClient, *keys: str) -> list[int]:
    return [client.get("/classes", headers={"X-API-Key": key}).status_code for key in keys]


def limit_headers(answer: TestResponse) -> tuple[int, str, str]:
    headers = answer.headers
    return answer.status_code, headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]


def test_past_the_limit_it_is_429_and_the_headers_have_the_rest(redis: Redis, server: str) -> None:
    client, before = limited(redis, server, "2/hour"), time.time()
    answers = [client.get("/classes") for _ in range(3)]
    assert [limit_headers(each) for each in answers] == [(200, "2", "1"), (200, "2", "0"), (429, "2", "0")]
    last = answers[-1]
    assert last.content_type == "application/problem+json"
    assert "at most 2 requests per hour from each address" in last.json["detail"]
    assert before + 3600 <= int(last.headers["X-RateLimit-Reset"]) <= time.time() + 3601
    assert 0 < int(last.headers["Retry-After"]) <= 3600
    assert [each.headers.get("Retry-After") for each in answers[:2]] == [None, None]


def test_after_the_retry_seconds_a_request_is_accepted(redis: Redis, server: str) -> None:
    client = limited(redis, server, "1/second")
    refused = next(each for _ in range(50) if (each := client.get("/classes")).status_code == 429)
    time.sleep(int(refused.headers["Retry-After"]))
    assert client.get("/classes").status_code == 200


def test_the_wait_is_the_longest_of_the_exhausted_limits(redis: Redis, server: str) -> None:
    client = limited(redis, server, "2/second;2/2 hours")
    answer = [client.get("/classes") for _ in range(3)][-1]
    assert answer.status_code == 429 and int(answer.headers["Retry-After"]) > 3600
    assert "2 requests per 2 hours" in answer.json["detail"]


def test_each_request_counts_once_whatever_its_path(redis: Redis, server: str) -> None:
    client = limited(redis, server, "4/hour")
    form = {"blob": [(io.BytesIO(encoded()), f"{i}.jpg") for i in range(3)]}
    job = client.post("/jobs", data=form).json["jobs"][0]["href"]
    client.get(job)
    client.get("/nowhere")
    client.delete("/classify")
    assert [client.get(job).status_code, client.get("/nowhere").status_code] == [429, 429]


def test_probes_preflights_and_the_page_do_not_count(redis: Redis, server: str) -> None:
    client = limited(redis, server, "1/hour")
    for _ in range(3):
        free = ("/health/live", "/health/ready", "/", "/page/main.js", "/status")
        assert [client.get(path).status_code for path in free] == [200] * len(free)
        assert client.options("/jobs", headers={"Access-Control-Request-Method": "POST"}).status_code == 204
    assert client.get("/classes").status_code == 200


def test_each_key_has_its_own_limit_and_a_wrong_key_uses_nothing(redis: Redis, server: str) -> None:
    client, phone, web = keyed(redis, server, "2/hour"), KEYS["phone"], KEYS["web"]
    sent = [phone, "wrong", "wrong", "wrong", phone, phone, web]
    assert ask(client, *sent) == [200, 401, 401, 401, 200, 429, 200]
    detail = client.get("/classes", headers={"X-API-Key": phone}).json["detail"]
    assert "2 requests per hour from each key" in detail


def test_two_keys_with_one_name_share_a_limit(redis: Redis, server: str) -> None:
    assert ask(keyed(redis, server, "2/hour"), KEYS["phone"], NEW_KEY, NEW_KEY) == [200, 200, 429]


def test_two_gateways_count_together(redis: Redis, server: str) -> None:
    one, two = limited(redis, server, "2/hour"), limited(redis, server, "2/hour")
    assert [each.get("/classes").status_code for each in (one, two, one, two)] == [200, 200, 429, 429]


def from_(client: AsgiClient, peer: str, forwarded: str = "") -> int:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    return client.get("/classes", headers=headers, environ_base={"REMOTE_ADDR": peer}).status_code


def test_addresses_have_their_own_limits_and_a_forged_one_is_ignored(redis: Redis, server: str) -> None:
    client = limited(redis, server, "1/hour")
    assert [from_(client, "10.0.0.1"), from_(client, "10.0.0.2")] == [200, 200]
    assert [from_(client, "10.0.0.1", f"1.1.1.{i}") for i in range(3)] == [429] * 3


def test_behind_proxies_the_address_that_they_saw_counts(redis: Redis, server: str) -> None:
    client, proxy = limited(redis, server, "1/hour", server_proxies=2), "10.0.0.1"
    assert from_(client, proxy, "2.2.2.2, 10.0.0.9") == 200
    assert from_(client, proxy, "3.3.3.3, 10.0.0.9") == 200
    assert from_(client, proxy, "2.2.2.2, 10.0.0.8") == 429
    forged = ["3.3.3.3", "1.1.1.1, 3.3.3.3", "x", ","]
    assert [from_(client, proxy, f"{each}, 2.2.2.2, 10.0.0.9") for each in forged] == [429] * 4


def test_malformed_addresses_count_as_one_address(redis: Redis, server: str) -> None:
    client = limited(redis, server, "1/hour", server_proxies=1)
    assert [from_(client, "10.0.0.1", each) for each in ("x", "y", "z" * 4000)] == [200, 429, 429]
    assert from_(client, "") == 429  # the peer of a unix socket has no address
    # An open quotation mark hides the address that the proxy adds, so such callers share the proxy's limit.
    assert [from_(client, "10.0.0.1", each) for each in ('"a, 2.2.2.2', '"b, 2.2.2.2')] == [200, 429]


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        pytest.param("2001:db8::1", "2001:db8::ffff:2", 429, id="one network"),
        pytest.param("2001:db8::1", "2001:db8:0:1::1", 200, id="two networks"),
        pytest.param("::ffff:1.1.1.1", "::ffff:1.1.1.2", 200, id="two of IPv4"),
        pytest.param("::ffff:1.1.1.1", "1.1.1.1", 429, id="one of IPv4"),
        pytest.param("1.1.1.1:81", "1.1.1.1:82", 429, id="with a port"),
        pytest.param("fe80::1%eth0", "fe80::2%eth0", 429, id="with a zone"),
    ],
)
def test_an_ipv6_network_has_one_limit(
    redis: Redis, server: str, first: str, second: str, status: int
) -> None:
    client = limited(redis, server, "1/hour")
    assert [from_(client, first), from_(client, second)] == [200, status]


def test_a_full_queue_keeps_its_own_wait(redis: Redis, server: str) -> None:
    client = limited(redis, server, "9/hour", queue_size=1, request_timeout=0.2)
    post(client)  # it stays in the queue
    answer = post(client)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert "full" in answer.json["detail"]


def test_an_unreachable_redis_is_503_and_no_request_passes() -> None:
    settings = Settings(redis_url="unix:///nowhere/redis.sock", rate_limit="9/hour")
    client = AsgiClient(create_app(settings, JobQueue(connect("unix:///nowhere/redis.sock"), settings)))
    answer = client.get("/docs")  # only the count of this request needs Redis
    assert answer.status_code == 503 and "does not answer" in answer.json["detail"]
    assert int(answer.headers["Retry-After"]) >= 1
    assert client.get("/health/live").status_code == 200


def test_redis_out_of_memory_is_503(redis: Redis, server: str) -> None:
    client = limited(redis, server, "9/hour")
    redis.config_set("maxmemory", "1mb")
    try:
        answer = client.get("/docs")
        assert answer.status_code == 503 and "out of memory" in answer.json["detail"]
    finally:
        redis.config_set("maxmemory", "0")


def test_counts_have_their_own_key_prefix_and_expire(redis: Redis, server: str) -> None:
    limited(redis, server, "9/hour").get("/docs")
    (name,) = [key for key in redis.scan_iter("*limit*")]
    assert name.startswith(b"classification:limits:") and 0 < redis.ttl(name) <= 3600
