"""Jobs as they may stand in Redis if someone else wrote them: refused, never obeyed, and in bounds."""

import json
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.job import Options, Region
from shared.queue.messages import Claim
from shared.queue.rq_call import FUNCTION
from shared.queue.wire import read_claim
from shared.settings import Settings, SettingsError

WHOLE: dict[str, Any] = {"regions": None, "top_n": 5, "consolidate": False}
NUMBERS = st.integers(-(10**9), 10**9)


def claim(data: bytes) -> Claim:
    return Claim("bulk", "id", "execution", data, None, 1, "", 0.0)


def call(function: str = FUNCTION, **options: Any) -> bytes:
    return zlib.compress(json.dumps([function, None, [], WHOLE | options]).encode())


@given(
    st.lists(st.builds(Region, NUMBERS, NUMBERS, NUMBERS), max_size=5), st.integers(1, 10**9), st.booleans()
)
def test_what_is_asked_comes_back_as_it_was(regions: list[Region], top_n: int, consolidate: bool) -> None:
    options = Options(tuple(regions) or None, top_n, consolidate)
    assert claim(call(**options.to_json())).options() == options


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x80\x04\x95", id="pickle"),
        pytest.param(zlib.compress(b"\x80\x04\x95"), id="packed pickle"),
        pytest.param(zlib.compress(b"[" * 10**5), id="deep"),
        pytest.param(zlib.compress(b"{}"), id="no list"),
        pytest.param(call("os.system"), id="another function"),
        pytest.param(call(regions=[[0, 0, float("inf")]]), id="infinite"),
        pytest.param(call(regions=[[0, 0, float("nan")]]), id="not a number"),
        pytest.param(call(regions=[[0, 0]]), id="two numbers"),
        pytest.param(call(regions=[[0, 0, 1]] * 10_001), id="too many regions"),
        pytest.param(call(top_n=0), id="no answers"),
        pytest.param(call(top_n="many"), id="no number"),
    ],
)
def test_a_foreign_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="invalid job record") as caught:
        claim(data).options()
    assert len(str(caught.value)) < 300


def test_a_record_that_unpacks_to_a_gigabyte_does_not() -> None:
    packer = zlib.compressobj()
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(1024)) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="invalid job record"):
            claim(bomb).options()
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_as_many_regions_as_may_be_asked_for_fit_into_a_record() -> None:
    most = [[10**9, 10**9, 10**9]] * 10_000
    assert claim(call(regions=most)).options().inputs == 10_000
    with pytest.raises(SettingsError):
        Settings.from_environ({"MAX_REGIONS": "10001"})


def test_ids_that_are_no_text_are_read() -> None:
    read = read_claim("bulk", [b"\xff", b"e", b"", b"", 1, b"\xff", b"0", b""])
    assert (read.job_id, read.request_id) == ("�", "�")
