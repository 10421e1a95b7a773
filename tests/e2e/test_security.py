"""Tests the service with Redis behind a password and TLS: it stores only JSON and logs no secret."""

import base64
import io
import pickle
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import requests
from PIL import Image
from redis import Redis
from redis.exceptions import AuthenticationError, ConnectionError, RedisError

import demo
from shared.redis_connection import connect
from tests.e2e.test_classify import best
from tests.integration.test_webhooks import Receiver
from tests.stack import ROOT, Stack, eventually
from tests.tls import Relay, acl_command, make_certificates

PASSWORD = "r3d/p@ss-3f1c9a"
KEY, HASHED_KEY, WRONG_KEY = "k1-2b7e151628aed2a6", "k2-abf7158809cf4f3c", "k3-762e7160f38b4da5"
WEBHOOK_KEY = b"webhook-signing-key-0001"
WEBHOOK_SECRET = f"whsec_{base64.b64encode(WEBHOOK_KEY).decode()}"
HOOK_TOKEN = "T0KEN-in-the-hooks-path"
ADDRESS = "1 Privet Drive"
FILE_NAME = "patient-name.jpg"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
SECRETS = (
    *(PASSWORD, quote(PASSWORD, safe=""), KEY, HASHED_KEY, WRONG_KEY, WEBHOOK_SECRET, WEBHOOK_SECRET[6:]),
    *(WEBHOOK_KEY.decode(), HOOK_TOKEN, ADDRESS, FILE_NAME, "idempotent-secret"),
)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    folder = tmp_path_factory.mktemp("tls")
    make_certificates(folder)
    running = Relay(folder)
    yield running
    running.close()


def address(relay: Relay, password: str = PASSWORD, host: str = "localhost", query: str = "") -> str:
    query = query or f"ssl_ca_certs={relay.ca}"
    return f"rediss://classification:{quote(password, safe='')}@{host}:{relay.port}/0?{query}"


@pytest.fixture(scope="module")
def stack(relay: Relay) -> Iterator[Stack]:
    hashed = subprocess.run(
        f"printf %s {HASHED_KEY} | sha256sum", shell=True, check=True, capture_output=True, text=True
    ).stdout.split()[0]
    running = Stack(
        password=PASSWORD,
        REDIS_URL=address(relay),
        API_KEYS=f"phone:{KEY},web:sha256:{hashed}",
        WEBHOOK_SECRET=WEBHOOK_SECRET,
        WEBHOOK_ALLOW="127.0.0.1",
        RATE_LIMIT="10000/minute",
    )
    running.valkey.client.execute_command(*(w.replace("PASSWORD", PASSWORD) for w in acl_command()))
    relay.target = f"{running.valkey.folder}/s"
    try:
        running.start_worker(wait=False)
        eventually(lambda: cfg(running) == 200, 60, "the worker serves")
        yield running
    finally:
        running.close()


def cfg(stack: Stack) -> int:
    try:
        return requests.get(f"{stack.url}/cfg", headers=AUTHORIZED, timeout=5).status_code
    except requests.RequestException:
        return 0


def photo() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = ADDRESS
    out = io.BytesIO()
    Image.open(demo.SAMPLES / "siete.jpg").save(out, "JPEG", exif=exif)
    return out.getvalue()


def send(stack: Stack, path: str, image: bytes, key: str = KEY, **form: str) -> requests.Response:
    files, headers = (
        {"blob": (FILE_NAME, image)},
        {"X-API-Key": key, "Idempotency-Key": f"idempotent-secret-{form}"},
    )
    return requests.post(f"{stack.url}{path}", files=files, data=form, headers=headers, timeout=60)


def send_raw(stack: Stack, header: str) -> bytes:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as connection:
        connection.sendall(f"GET /classes HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
        return connection.recv(65536)


def values(redis: Redis) -> Iterator[tuple[bytes, bytes]]:
    """Yield every string in Redis with its key: values, fields, list entries and members."""
    for key in redis.keys("*"):
        kind = redis.type(key).decode()
        if kind == "string":
            found = [redis.get(key)]
        elif kind == "hash":
            found = [each for pair in redis.hgetall(key).items() for each in pair]
        elif kind == "list":
            found = redis.lrange(key, 0, -1)
        elif kind == "set":
            found = [*redis.smembers(key)]
        elif kind == "zset":
            found = [member for member, _ in redis.zrange(key, 0, -1, withscores=True)]
        else:
            found = [each for _, fields in redis.xrange(key) for pair in fields.items() for each in pair]
        yield from ((key, each) for each in found)


def forms(value: bytes) -> Iterator[bytes]:
    """Yield the stored value and its unpacked forms, for the packings that RQ uses."""
    yield value
    for unpack in (zlib.decompress, lambda each: base64.b64decode(each, validate=True)):
        try:
            yield unpack(value)
        except (ValueError, zlib.error):
            continue


def is_pickle(value: bytes) -> bool:
    return value[:1] == b"\x80" and value[1:2] in b"\0\1\2\3\4\5" and value.endswith(b".")


def test_the_service_works_behind_a_password_and_tls_and_stores_only_json(stack: Stack) -> None:
    receiver = Receiver()
    sender = stack.start("webhooks", "webhooks")
    answer = send(stack, "/classify", photo())
    assert answer.status_code == 200 and best(answer.json()) == ["Digitus septem albus"]
    assert send(stack, "/classify", photo(), HASHED_KEY).status_code == 200
    assert send(stack, "/jobs", photo(), webhook=f"{receiver.url}/{HOOK_TOKEN}").status_code == 202
    assert send(stack, "/jobs", photo(), webhook=f"{receiver.url}/410/{HOOK_TOKEN}").status_code == 202
    assert send(stack, "/jobs", photo(), webhook=f"http://127.0.0.1:9/500/{HOOK_TOKEN}").status_code == 202
    eventually(lambda: len(receiver.got) == 2, 30, "two messages arrive")
    eventually(
        lambda: stack.valkey.client.zcard("rq:scheduled:webhooks"),
        20,
        "the third message is scheduled for a retry",
    )
    found = list(values(stack.valkey.client))
    assert len(found) > 100
    assert not [key for key, value in found for form in forms(value) if is_pickle(form)]
    assert any(is_pickle(form) for form in forms(zlib.compress(pickle.dumps([1])))), (
        "the check finds a pickle"
    )
    sender.terminate()
    assert sender.wait(30) == 0


def test_no_secret_and_no_image_is_in_any_output(stack: Stack) -> None:
    assert send(stack, "/classify", photo(), WRONG_KEY).status_code == 401
    assert send(stack, "/classify", photo()[:-2000]).status_code == 422
    assert send(stack, "/classify", photo(), regions="9999,0,5", top_n=ADDRESS).status_code == 400
    assert requests.get(f"{stack.url}/classes?api_key={KEY}", timeout=5).status_code == 401
    assert send_raw(stack, f"Authorization Bearer {KEY}").startswith(b"HTTP/1.1 400 ")
    assert send_raw(stack, f"X-API-Key {WRONG_KEY}: x").startswith(b"HTTP/1.1 400 ")
    stack.valkey.client.config_set("maxmemory", 1)
    assert send(stack, "/classify", photo()).status_code == 503
    stack.valkey.client.config_set("maxmemory", 0)
    stack.workers[0].terminate()
    assert stack.workers[0].wait(30) == 0
    log = stack.logs()
    assert log.count("Invalid request from ip=127.0.0.1: ") == 2
    assert "POST /classify 200" in log and "POST /classify 401" in log and "127.0.0.1" in log
    assert not [secret for secret in SECRETS if secret in log]
    assert not [part for part in ("JFIF", "\\xff\\xd8", "ÿØ") if part in log]


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        pytest.param({"query": "db=0"}, ConnectionError, "CERTIFICATE_VERIFY_FAILED", id="unknown CA"),
        pytest.param(
            {"host": "127.0.0.1"}, ConnectionError, "CERTIFICATE_VERIFY_FAILED", id="wrong host name"
        ),
        pytest.param({"password": "wr0ng-passw0rd"}, AuthenticationError, "invalid", id="wrong password"),
        pytest.param({"password": ""}, AuthenticationError, "invalid", id="no password"),
    ],
)
def test_a_wrong_certificate_or_password_prevents_the_connection(
    stack: Stack, relay: Relay, wrong: dict[str, str], error: type[RedisError], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        connect(address(relay, **wrong), retries=0).ping()
    assert not [each for each in (PASSWORD, "wr0ng-passw0rd") if each in str(caught.value)]


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(("worker",), id="worker"),
        pytest.param(("webhooks",), id="webhooks"),
        pytest.param(("cli.main", "serve"), id="serve"),
        pytest.param(
            ("gunicorn", "-c", "python:gateway.gunicorn_conf", "gateway.app:create_app()"), id="gateway"
        ),
    ],
)
def test_an_invalid_redis_url_ends_the_start_and_is_not_printed(module: tuple[str, ...]) -> None:
    environ = {
        "PATH": "/usr/bin:/bin",
        "REDIS_URL": f"redis://:{PASSWORD}@localhost:6379",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-m", *module], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60
    )
    output = done.stdout + done.stderr
    assert done.returncode == 2 and "REDIS_URL: expected" in output and "Traceback" not in output
    assert not [part for part in (PASSWORD, *PASSWORD.split("/"), *PASSWORD.split("@")) if part in output]
