"""POST /classify on a real service: the original's requests and their answers."""

import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import demo
from tests.bad_input import CASES, BadCase
from tests.stack import Stack, eventually

EXPECTED = json.loads((demo.SAMPLES / "expected.json").read_text())
CLASSES = demo.CLASSES.read_text().splitlines()
DIGITS = sorted((demo.SAMPLES / "digits").glob("*.png"))


def best(answer: list[dict[str, float]]) -> list[str]:
    return [next(iter(region)) for region in answer]


def regions(name: str) -> str:
    return str(EXPECTED[name]["regions"])


def digit_class(path: Path) -> str:
    return str(EXPECTED[f"digits/{path.name}"]["classes"][0])


def test_a_whole_image_gives_its_class_first(stack: Stack) -> None:
    answer = stack.classify(demo.SAMPLES / "siete.jpg")
    assert answer.status_code == 200
    (region,) = answer.json()
    assert len(region) == 5 and next(iter(region)) == "Digitus septem albus"
    assert list(region.values()) == sorted(region.values(), reverse=True)


def test_three_regions_are_answered_in_their_order(stack: Stack) -> None:
    answer = stack.classify(demo.SAMPLES / "tres-regiones.jpg", regions=regions("tres-regiones.jpg"))
    assert best(answer.json()) == EXPECTED["tres-regiones.jpg"]["classes"]


def test_three_regions_are_consolidated_by_species(stack: Stack) -> None:
    form = {"regions": regions("tres-regiones.jpg"), "consolidate": "1"}
    answer = stack.classify(demo.SAMPLES / "tres-regiones.jpg", **form).json()
    species = [" ".join(name.split()[:2]) for name in EXPECTED["tres-regiones.jpg"]["classes"]]
    twice = max(species, key=species.count)
    assert answer[0][0] == twice and 0.5 < answer[0][1] <= 1
    assert {pair[0] for pair in answer} == set(species) and [pair[1] for pair in answer[1:]] == [0.0]


def test_an_unknown_class_is_answered_as_unknown(stack: Stack) -> None:
    form = {"regions": "0,0,8", "consolidate": "true"}
    answer = stack.classify(demo.SAMPLES / "tres-regiones.jpg", **form)
    assert answer.status_code == 200
    assert answer.json() == [["Especie desconocida", None]]


def test_top_n_sets_the_length(stack: Stack) -> None:
    lengths = [len(stack.classify(demo.SAMPLES / "siete.jpg", top_n=n).json()[0]) for n in (1, 7, 10**9)]
    assert lengths == [1, 7, len(CLASSES)]


def test_classes_and_cfg_describe_the_model(stack: Stack) -> None:
    assert requests.get(f"{stack.url}/classes", timeout=5).json() == CLASSES
    for ask in (requests.get, requests.post):
        assert ask(f"{stack.url}/cfg", timeout=5).json()["input_dims"] == "32x32x3"


def test_an_answer_names_job_request_model_and_timings(stack: Stack) -> None:
    headers = {"X-Request-Id": "from-the-phone"}
    with open(demo.SAMPLES / "siete.jpg", "rb") as image:
        answer = requests.post(f"{stack.url}/classify", files={"blob": image}, headers=headers, timeout=30)
    assert answer.headers["X-Request-Id"] == "from-the-phone"
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Job-Id"])
    assert answer.headers["X-Model"]
    stages = re.findall(r"(\w+);dur=[\d.]+", answer.headers["Server-Timing"])
    assert stages == ["queue", "decode", "infer", "total"]


def test_200_concurrent_requests_each_get_their_own_answer(stack: Stack) -> None:
    def one(i: int) -> tuple[int, bool, float]:
        path = DIGITS[i % len(DIGITS)]
        while True:
            answer = stack.classify(path)
            if answer.status_code != 429:
                return answer.status_code, best(answer.json()) == [digit_class(path)], 0
            time.sleep(int(answer.headers["Retry-After"]))

    with ThreadPoolExecutor(64) as pool:
        outcomes = list(pool.map(one, range(200)))
    assert [outcome[:2] for outcome in outcomes] == [(200, True)] * 200
    sizes = [int(n) for n in re.findall(r"batch of \d+ jobs, (\d+) inputs", stack.logs("worker"))]
    assert max(sizes) > 1 and max(sizes) <= 32


def test_one_damaged_image_fails_alone(stack: Stack) -> None:
    whole = (demo.SAMPLES / "siete.jpg").read_bytes()

    def one(i: int) -> int:
        return stack.classify(whole[: len(whole) // 2] if i == 7 else whole).status_code

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(16))) == [200] * 7 + [422] + [200] * 8


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_gets_its_reason(stack: Stack, case: BadCase) -> None:
    answer = case.send(stack.url)
    assert answer.status_code == case.status, answer.text
    if case.status >= 400 and case.method != "HEAD":
        assert answer.headers["Content-Type"] == "application/problem+json"
        for fragment in case.fragments:
            assert fragment in answer.text


def test_after_bad_input_nothing_is_left_and_good_requests_are_answered(stack: Stack) -> None:
    for case in CASES[:10]:
        case.send(stack.url)
    assert stack.classify(demo.SAMPLES / "siete.jpg").status_code == 200
    redis = stack.valkey.client

    def only_indexes() -> bool:
        kept = {key.decode() for key in redis.scan_iter() if redis.ttl(key) == -1}
        return {key.split(":")[1] for key in kept} <= {"queues", "workers", "finished", "failed", "figures"}

    eventually(only_indexes, 5, "only RQ's indexes and the metrics stay without a TTL")
    assert list(redis.scan_iter("image:*")) == []


def test_the_gateway_is_light(stack: Stack) -> None:
    children = Path(f"/proc/{stack.gateway.pid}/task/{stack.gateway.pid}/children").read_text().split()
    for pid in [str(stack.gateway.pid), *children]:
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "numpy" not in maps and "tensorflow" not in maps
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        assert resident < 80e6, f"{resident / 1e6:.0f} MB"


@pytest.mark.parametrize(("part", "status"), [(1.0, 200), (0.5, 422)])
def test_a_request_is_found_in_the_logs_of_both_sides(stack: Stack, part: float, status: int) -> None:
    image = (demo.SAMPLES / "siete.jpg").read_bytes()
    name = f"walk-7.of:monday-{part}"
    files, headers = {"blob": image[: int(len(image) * part)]}, {"X-Request-Id": name}
    answer = requests.post(f"{stack.url}/classify", files=files, headers=headers, timeout=30)
    assert answer.status_code == status and answer.headers["X-Request-Id"] == name
    for side in ("gateway", "worker"):
        eventually(lambda side=side: name in stack.logs(side), 5, f"a line of the {side}")
