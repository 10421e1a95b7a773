"""The OpenAPI document is true: schemathesis tests each operation of running servers."""

import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest
import requests

import demo
from gateway.openapi import document
from shared.settings import Settings
from tests.e2e.test_readme import near
from tests.stack import ROOT, Stack, eventually

CONFIG = Path(__file__).with_name("schemathesis.toml")
KEY = "0123456789abcdef"
SUCCESSES = {
    f"{method.upper()} {path} 200"
    for path, item in document(Settings())["paths"].items()
    for method, call in item.items()
    if method in ("get", "post") and "200" in call["responses"]
} - {"GET /openapi.json 200"}  # it is not tested, because schemathesis reads it first
THREE = "40,40,220;390,60,200;245,300,150"


def run_schemathesis(url: str, folder: Path, *arguments: str, more: str = "") -> set[str]:
    """Let schemathesis test the server with `more` configuration; return the statuses by operation."""
    config, answers = folder / "schemathesis.toml", folder / "answers"
    config.write_text(CONFIG.read_text() + more)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)]
    run = subprocess.run(
        [*command, "run", f"{url}/openapi.json", "--no-color", *arguments],
        cwd=folder,  # schemathesis leaves files behind
        env=os.environ | {"PYTHONPATH": str(ROOT), "ANSWERS": str(answers)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=240,
    )
    assert run.returncode == 0, run.stdout.decode(errors="replace")
    return set(answers.read_text().splitlines())


def test_a_service_with_every_setting_on_follows_its_document(tmp_path: Path) -> None:
    whole = Stack(
        API_KEYS=f"phone:{KEY}",
        RATE_LIMIT="1000000/hour",
        RESULT_CACHE_TTL=60,
        WEBHOOK_SECRET=f"whsec_{b64encode(bytes(32)).decode()}",
    )
    try:
        whole.start_worker(wait=False)
        eventually(lambda: status(whole, "/health/ready") == 200, 60, "the service is ready")
        found = run_schemathesis(whole.url, tmp_path, "--header", f"Authorization: Bearer {KEY}")
    finally:
        whole.close()
    assert found >= SUCCESSES
    assert found >= {f"POST /classify {status}" for status in (202, 400, 401, 405, 415, 422)}
    assert found >= {f"POST /jobs {status}" for status in (202, 400, 401, 409, 413, 415, 422)}
    assert found >= {"GET /jobs 400", "GET /jobs/{job_id} 400", "GET /jobs/{job_id} 404"}
    assert found >= {"DELETE /jobs/{job_id} 404", "GET /docs/{file} 404"}


def test_a_service_with_no_setting_and_no_worker_follows_its_document(tmp_path: Path) -> None:
    """Jobs wait and can be canceled; requests that need a worker get 503 and `Retry-After`."""
    alone = Stack()
    try:
        eventually(lambda: status(alone, "/health/live") == 200, 30, "the gateway answers")
        found = run_schemathesis(
            alone.url,
            tmp_path,
            more='"query.wait" = 0  # without a worker a wait is useless\n'
            "[checks.not_a_server_error]\n"
            'expected-statuses = ["2xx", "4xx", "503"]\n',
        )
    finally:
        alone.close()
    assert found >= {"POST /jobs 202", "GET /jobs/{job_id} 200", "DELETE /jobs/{job_id} 200"}
    assert found >= {"POST /classify 503", "GET /classes 503", "POST /cfg 503", "GET /health/ready 503"}


def status(stack: Stack, path: str) -> int:
    try:
        return requests.get(f"{stack.url}{path}", timeout=5).status_code
    except requests.ConnectionError:
        return 0


@pytest.mark.parametrize(
    ("example", "image", "form"),
    [
        ("one image", "siete.jpg", {}),
        ("three regions", "tres-regiones.jpg", {"regions": THREE, "top_n": "2"}),
        ("consolidated", "tres-regiones.jpg", {"regions": THREE, "consolidate": "1"}),
        ("nothing accepted", "siete.jpg", {"regions": "40,40,120", "consolidate": "1"}),
        ("outside", "siete.jpg", {"regions": "300,200,100"}),
        ("every field", "siete.jpg", {"regions": "here", "top_n": "x", "consolidate": "maybe"}),
    ],
)
def test_the_examples_are_real_answers(stack: Stack, example: str, image: str, form: dict[str, str]) -> None:
    responses = requests.get(f"{stack.url}/openapi.json", timeout=30).json()["paths"]["/classify"]["post"]
    answer = stack.classify(demo.SAMPLES / image, **form)
    (content,) = responses["responses"][str(answer.status_code)]["content"].values()
    wanted = content["examples"][example]["value"]
    assert near(answer.json(), wanted)


def test_the_page_loads_nothing_from_elsewhere(stack: Stack) -> None:
    page = requests.get(f"{stack.url}/docs", timeout=30)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "http" not in policy + page.text
    files = ("docs.js", "swagger-ui-bundle.js", "swagger-ui.css")
    assert all(f'"docs/{file}"' in page.text for file in files)
    answers = [requests.get(f"{stack.url}/docs/{file}", timeout=30) for file in files]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert "validatorUrl: null" in answers[0].text
