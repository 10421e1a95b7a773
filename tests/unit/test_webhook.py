"""Which addresses a webhook may go to, and how a message is signed."""

import contextlib
import json
import re
import time
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from shared.settings import Settings, SettingsError
from shared.webhook import RETRY_SECONDS, Allowed, Forbidden, check_url
from webhooks.signature import signed_headers

NOBODY = Allowed()
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_QUJDREVGR0hJSktMTU5PUA=="


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook?a=1",
        "http://example.com:8080",
        "https://8.8.8.8/x",
        "https://[2606:4700::1]/x",
        "https://EXAMPLE.com./x",
    ],
)
def test_public_addresses_are_taken(url: str) -> None:
    assert check_url(url, NOBODY).geturl().lower() == url.lower()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "localhost",
        "LOCALHOST.",
        "db.localhost",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:7f00:1::]",
    ],
)
def test_addresses_that_are_not_public_are_refused(host: str) -> None:
    with pytest.raises(Forbidden, match="WEBHOOK_ALLOW"):
        check_url(f"http://{host}/hook", NOBODY)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://example.com:0",
        "http://example.com:99999",
        "http://user@example.com",
        "http://user:pw@example.com",
        "http://example.com/#part",
        "http://exa mple.com",
        "http://example.com/\r\nHost: x",
        "http://ñandú.cl/",
        "http://[::1",
        "https://example.com/" + "x" * 2048,
    ],
)
def test_what_is_no_plain_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_url(url, NOBODY)
    assert not isinstance(caught.value, Forbidden)


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    for url in (text, f"http://{text}"):
        with contextlib.suppress(ValueError):
            check_url(url, NOBODY)


@pytest.mark.parametrize("named", ["10.0.0.0/8", "10.1.2.3", "127.0.0.1, 10.1.2.3"])
def test_what_is_named_is_taken(named: str) -> None:
    check_url("http://10.1.2.3/x", Allowed.parse(named))
    with pytest.raises(Forbidden):
        check_url("http://192.168.0.1/x", Allowed.parse(named))


def test_a_named_host_may_be_anywhere_and_one_private_address_of_several_is_enough_to_refuse() -> None:
    inner = ip_address("10.0.0.1")
    Allowed.parse("Receiver.internal").check("receiver.internal", [inner])
    with pytest.raises(Forbidden):
        NOBODY.check("example.com", [ip_address("8.8.8.8"), inner])


@pytest.mark.parametrize("named", ["10.0.0.0/33", "host:80", "http://x"])
def test_what_cannot_be_allowed_is_told(named: str) -> None:
    with pytest.raises(SettingsError, match=r"WEBHOOK_ALLOW: .*expected host names"):
        Settings.from_environ({"WEBHOOK_ALLOW": named})


def test_a_message_verifies_with_the_specifications_own_library() -> None:
    secrets = Settings.from_environ({"WEBHOOK_SECRET": f"{OTHER},{SECRET}"}).webhook_secret or ()
    body = json.dumps({"type": "job.finished", "data": {"species": "Ñandú"}})
    headers = signed_headers("msg", int(time.time()), body.encode(), secrets)
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(body, headers) == json.loads(body)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(body + " ", headers)


@pytest.mark.parametrize("secret", ["whsec_c2hvcnQ=", "whsec_%%%", "plain words", ","])
def test_a_wrong_secret_is_told_and_never_shown(secret: str) -> None:
    with pytest.raises(SettingsError, match=r"WEBHOOK_SECRET: expected .*base64") as caught:
        Settings.from_environ({"WEBHOOK_SECRET": secret})
    assert secret == "," or secret not in str(caught.value)
    assert "MfKQ" not in repr(Settings.from_environ({"WEBHOOK_SECRET": SECRET}))


def test_there_are_twelve_tries_in_a_day() -> None:
    assert len(RETRY_SECONDS) == 11 and sorted(RETRY_SECONDS) == list(RETRY_SECONDS)
    assert 23 * 3600 < sum(RETRY_SECONDS) <= 24 * 3600


@pytest.mark.parametrize("number", [0, 1])
def test_the_docs_snippets_verify_a_message_and_refuse_a_forged_one(number: int) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "webhooks.md").read_text()
    snippet = re.findall(r"```python\n(.*?)```", page, re.S)[number]
    secrets = Settings.from_environ({"WEBHOOK_SECRET": f"{OTHER},{SECRET}"}).webhook_secret or ()
    body = json.dumps({"type": "job.finished", "data": {"species": "Ñandú"}})
    names = {
        "SECRET": SECRET,
        "body": body,
        "headers": signed_headers("msg", int(time.time()), body.encode(), secrets),
    }
    exec(snippet, names)
    assert names["message"] == json.loads(body)
    for forged in (
        {"body": body + " "},
        {"headers": signed_headers("msg", int(time.time()) - 3600, body.encode(), secrets)},
    ):
        with pytest.raises(Exception, match=r"sign|old"):
            exec(snippet, names | forged)
