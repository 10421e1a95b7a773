"""A webhook's address, then a line with WEBHOOK_ALLOW: only public addresses are accepted."""

import ipaddress

from shared.webhook import Allowed, check_url

NO_EXCEPTIONS = Allowed()
SEEDS = [
    b"https://example.org/hook?job=1",
    b"http://127.0.0.1:8080/",
    b"http://[::1]/",
    b"http://[::ffff:10.0.0.1]:99999/",
    b"http://0x7f.1/",
    b"http://2130706433/",
    b"https://user:pw@example.org/#x",
    b"http://localhost./\n10.0.0.0/8, ::1, host.example",
    b"http://[fe80::1%25eth0]/",
    b"http://[v1.a]/",
]
WORDS = [
    b"http://",
    b"https://",
    b"localhost",
    b"127.0.0.1",
    b"[::1]",
    b"0x7f",
    b"@",
    b"%00",
    b"::ffff:",
    b"\n",
    b"10.0.0.0/8",
]


def run(data: bytes) -> None:
    text, _, allow = data.decode("utf-8", "replace").partition("\n")
    try:
        url = check_url(text, NO_EXCEPTIONS)
    except ValueError:
        url = None
    if url is not None:
        assert url.scheme in ("http", "https") and url.hostname and url.username is None
        try:
            address = ipaddress.ip_address(url.hostname)
        except ValueError:
            assert not f".{url.hostname}".rstrip(".").endswith(".localhost")
        else:
            assert address.is_global and not address.is_multicast
    try:
        check_url(text, Allowed.parse(allow))
    except ValueError:
        return
