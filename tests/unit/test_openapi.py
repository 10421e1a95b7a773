"""The OpenAPI document without a server: it is well formed and has every route."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis

from gateway.app import create_app
from gateway.openapi import EXAMPLES, document
from gateway.route_policy import policy_of
from shared.api_keys import ApiKey
from shared.redis_connection import connect
from shared.settings import Settings
from tests.job_queue import JobQueue

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
ALL = Settings(
    api_keys=(ApiKey("phone", b""),), rate_limit="1/minute", webhook_secret=(b"secret",), result_cache_ttl=60
)
DOCUMENT = document(ALL)
"""The document of a service with every setting on."""


def parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in the document."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from parts(child)


def operations(specification: dict[str, Any] = DOCUMENT) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": call
        for path, item in specification["paths"].items()
        for method, call in item.items()
        if method in METHODS
    }


def validator(schema: dict[str, Any]) -> Any:
    """A validator of a schema that may refer to the document's other schemas."""
    return jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


@pytest.mark.parametrize("settings", [Settings(), ALL], ids=["plain", "all"])
def test_the_document_is_openapi_3_1(settings: Settings) -> None:
    schemathesis.openapi.from_dict(document(settings)).validate()
    assert document(settings)["openapi"].startswith("3.1.")


def test_the_document_has_every_route_and_no_other_with_its_policy() -> None:
    queue = JobQueue(connect("unix:///nowhere/redis.sock", retries=0), Settings())
    front = create_app(Settings(), queue)
    served = {
        f"{method} {str(rule).replace('<', '{').replace('>', '}')}": policy_of(front._views[rule.endpoint])
        for rule in front.routes.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert set(operations()) == set(served)
    for name, operation in operations().items():
        assert (operation.get("security") == []) is served[name].public, name
        assert any(
            "X-RateLimit-Limit" in each.get("headers", {}) for each in operation["responses"].values()
        ) is (served[name].limited), name


def test_every_schema_is_valid_and_used() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for schema in schemas.values():
        jsonschema_rs.meta.validate(schema)
    used = {each["$ref"] for each in parts(DOCUMENT) if "$ref" in each}
    there = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "headers")
        for name in DOCUMENT["components"][kind]
    }
    assert used == there


@pytest.mark.parametrize("name", operations())
def test_every_example_fits_its_schema(name: str) -> None:
    for part in parts(operations()[name]):
        for example in part.get("examples", {}).values():
            validator(part["schema"]).validate(example["value"])


def test_every_example_is_shown() -> None:
    shown = {name for part in parts(DOCUMENT) if "schema" in part for name in part.get("examples", ())}
    assert shown == set(EXAMPLES)


@pytest.mark.parametrize("name", operations())
def test_every_operation_has_a_summary_and_its_error_responses(name: str) -> None:
    call = operations()[name]
    assert call["summary"] and call["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    for status, response in call["responses"].items():
        assert ("application/problem+json" in response["content"]) == (int(status) >= 400)
        assert ("Retry-After" in response["headers"]) == (status in ("429", "503"))
        assert ("WWW-Authenticate" in response["headers"]) == (status == "401")


def test_operation_ids_are_unique() -> None:
    names = [call["operationId"] for call in operations().values()]
    assert len(set(names)) == len(names)


def test_keys_and_limits_are_described_if_they_are_set() -> None:
    plain = document(Settings())
    assert "security" not in plain and "securitySchemes" not in plain["components"]
    assert not [name for name, call in operations(plain).items() if "401" in call["responses"]]
    assert "429" not in operations(plain)["GET /classes"]["responses"]
    assert DOCUMENT["security"] == [{"bearer": []}, {"header": []}]
    for name, call in operations().items():
        is_open = name.startswith(("GET /health/", "GET /page/")) or name == "GET /"
        is_counted = not is_open and name != "GET /status"
        assert (call.get("security") == []) == is_open
        assert ("401" in call["responses"], "429" in call["responses"]) == (not is_open, is_counted)
        counted = ["X-RateLimit-Limit" in each["headers"] for each in call["responses"].values()]
        assert counted == [is_counted] * len(counted)
    assert "security" in document(Settings(api_keys_file=Path("keys")))


def test_webhooks_and_the_result_cache_are_described_if_they_are_on() -> None:
    plain = operations(document(Settings()))
    assert "webhook" not in form(Settings(), "/jobs") and "callbacks" not in plain["POST /jobs"]
    assert "webhook" in form(ALL, "/jobs") and "callbacks" in operations()["POST /jobs"]
    assert "webhook" not in form(ALL, "/classify")
    for name in ("POST /classify", "GET /jobs/{job_id}"):
        assert "Cache-Status" not in plain[name]["responses"]["200"]["headers"]
        assert "Cache-Status" in operations()[name]["responses"]["200"]["headers"]


def form(settings: Settings, path: str) -> dict[str, Any]:
    body = document(settings)["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
    return dict(body["schema"]["properties"])


@pytest.mark.parametrize(
    ("regions", "fits"),
    [
        ("", True),
        ("1,2,3", True),
        ("1,2,3;", True),
        (" 1 , 2 ,3 ; 4,5,6", True),
        ("1,2,3;4,5,6;7,8,9", False),
        ("1,2", False),
        ("a,b,c", False),
        ("1,2,3;;4,5,6", False),
    ],
)
def test_regions_follow_the_settings(regions: str, fits: bool) -> None:
    regions_field = form(Settings(max_regions=2), "/classify")["regions"]
    assert validator(regions_field).is_valid(regions) == fits


def test_limits_follow_the_settings() -> None:
    settings = Settings(max_upload_bytes=12345, max_jobs_per_request=7, region_order="yx")
    assert "12345 bytes" in form(settings, "/classify")["blob"]["description"]
    assert "y,x,side" in form(settings, "/classify")["regions"]["description"]
    assert form(settings, "/jobs")["blob"]["maxItems"] == 7
    assert (
        "3 s"
        in document(Settings(request_timeout=3))["paths"]["/classify"]["post"]["responses"]["504"][
            "description"
        ]
    )
