"""Sends the recorded requests to real services, and keeps the parts of each answer that must not change."""

import json
import re
from pathlib import Path
from typing import Any

import requests

from tests.recorded.calls import CONFIGURATIONS, Call
from tests.stack import Stack, eventually

FILE = Path(__file__).with_name("answers.json")

CHANGING_HEADERS = {
    "Content-Length",  # error texts and pages may change
    "Date",
    "ETag",
    "Last-Modified",
    "X-RateLimit-Reset",
}
CHANGING_TEXTS = (
    (r"\b[0-9a-f]{32}\b", "ID"),  # of a job or a request; fingerprints have 64 digits and stay
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"dur=[\d.]+", "dur=MS"),
    (r'version="[^"]+"', 'version="VERSION"'),
    (r'device="[^"]+"', 'device="DEVICE"'),
)
CHANGING_FIELDS = {"detail": "TEXT", "estimated_wait": "SECONDS", "version": "VERSION", "devices": "DEVICES"}

DOCUMENTATION = {"description", "summary", "example", "examples", "info", "tags"}
"""Names in the specification under which only text for its readers stands."""


def collect() -> dict[str, Any]:
    """Return each answer by the name of its configuration and its request."""
    stacks = {name: Stack(**each.settings) for name, each in CONFIGURATIONS.items()}
    found: dict[str, Any] = {}
    kept: dict[str, dict[str, str]] = {name: {} for name in stacks}
    try:
        for name, stack in stacks.items():
            eventually(lambda url=stack.url: _answers(f"{url}/health/live"), 30, "the gateway runs")
            _send(name, stack.url, CONFIGURATIONS[name].without_worker, kept[name], found)
        for stack in stacks.values():
            stack.start_worker(wait=False)
        for name, stack in stacks.items():
            eventually(lambda url=stack.url: _answers(f"{url}/health/ready"), 120, "the worker is ready")
            _send(name, stack.url, CONFIGURATIONS[name].with_worker, kept[name], found)
    finally:
        for stack in stacks.values():
            stack.close()
    return found


def lines(answer: Any, path: str = "") -> list[str]:
    """Return one line for each value of an answer, so that a comparison shows the parts that differ."""
    if isinstance(answer, dict) and answer:
        return [line for name, value in answer.items() for line in lines(value, f"{path}.{name}")]
    if isinstance(answer, list) and answer:
        return [line for number, value in enumerate(answer) for line in lines(value, f"{path}[{number}]")]
    return [f"{path.lstrip('.')} = {json.dumps(answer, ensure_ascii=False)}"]


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def _send(name: str, url: str, calls: tuple[Call, ...], kept: dict[str, str], found: dict[str, Any]) -> None:
    for call in calls:
        for _ in range(call.times):
            answer = requests.request(call.method, url + call.path.format(**kept), timeout=60, **call.send)
        if call.keep:
            kept[call.keep] = ",".join(job["id"] for job in answer.json()["jobs"])
        key = f"{name}: {call.name}"
        assert key not in found, f"two requests have the name {key!r}"
        found[key] = {
            "status": answer.status_code,
            "headers": {each: _header(each, answer) for each in sorted(answer.headers, key=str.lower)},
            "body": _body(call.path, answer),
        }


def _header(name: str, answer: requests.Response) -> str:
    # The wait after a 429 depends on the moment of the request.
    if name in CHANGING_HEADERS or (name == "Retry-After" and answer.status_code == 429):
        return "ANY"
    text = answer.headers[name]
    return ", ".join(sorted(text.split(", "))) if name == "Allow" else _text(text)


def _body(path: str, answer: requests.Response) -> Any:
    kind = answer.headers["Content-Type"].partition(";")[0]
    if kind == "text/plain":
        return _metrics(answer.text)
    if not answer.content or not kind.endswith("json"):
        return None  # a page, or the metrics in another format
    reduce = {"/status": _shape, "/openapi.json": _structure}.get(path, _plain) if answer.ok else _plain
    return reduce(answer.json())


def _text(text: str) -> str:
    for pattern, name in CHANGING_TEXTS:
        text = re.sub(pattern, name, text)
    return text


def _plain(value: Any) -> Any:
    """Replace the parts of a JSON document that differ from run to run, or that are wording."""
    if isinstance(value, dict):
        return {
            name: CHANGING_FIELDS[name] if name in CHANGING_FIELDS and each else _plain(each)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return _text(value) if isinstance(value, str) else value


def _shape(value: Any) -> Any:
    """Return the names and the types of a JSON document."""
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in value.items()}
    return [_shape(each) for each in value] if isinstance(value, list) else type(value).__name__


def _structure(value: Any) -> Any:
    """Return the specification without its texts; the order of its names does not matter."""
    if isinstance(value, dict):
        return {name: _structure(each) for name, each in sorted(value.items()) if name not in DOCUMENTATION}
    return [_structure(each) for each in value] if isinstance(value, list) else value


def _metrics(text: str) -> dict[str, None]:
    """Return the type of each metric, and the name and labels of each sample."""
    kept = (line for line in text.splitlines() if not line.startswith("# HELP"))
    return dict.fromkeys(
        sorted(_text(line if line.startswith("#") else line.rpartition(" ")[0]) for line in kept)
    )
