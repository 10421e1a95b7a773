"""The service's OpenAPI 3.1 document: the file `openapi.json`, adapted to the settings.

In `openapi.json`, a placeholder `<name>` stands for a setting or a limit. The file describes a service with
API keys, webhooks and the result cache. The function `document` removes the descriptions of features that
the settings switch off. If a rate limit is set, `document` adds the limit to the OpenAPI document. The
function `document` also replaces each `$ref` to a shared response or example by a copy.
"""

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gateway import page_routes
from gateway.jobs_routes import JOB_ID, MAX_IDS, MAX_WAIT_SECONDS
from gateway.upload.fields import FALSE, REGION_FORMS, TRUE
from gateway.upload.sizes import MAX_OTHER_BYTES, MAX_OTHER_PARTS, max_body_bytes, max_images
from shared.job import FAILURES
from shared.settings import Settings
from shared.webhook import MAX_URL

Json = dict[str, Any]

DOCS_FILES = ("docs.js", "swagger-ui-bundle.js", "swagger-ui.css")
"""Names of the files that the web page at /docs loads."""

_FILE: Json = json.loads(Path(__file__).with_name("openapi.json").read_text(encoding="utf-8"))

EXAMPLES: Json = _FILE["components"]["examples"]
"""Example responses. Each key is a short name of the request. The examples are real responses of a server
with the demo model."""

_UNLIMITED_PATH = "/status"
"""The only path that needs an API key but has no rate limit."""

_RATE_LIMIT_HEADERS = {
    name: {"$ref": f"#/components/headers/{name}"}
    for name in ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
}
_COPIED = re.compile("#/components/(responses|examples)/(.+)")
_PLACEHOLDER = re.compile("<([a-z_]+)>")


def document(settings: Settings) -> Json:
    """Return the OpenAPI document of a service with these settings."""
    made: Json = _fill(_FILE, _values(settings))
    shared = made["components"].pop("responses")
    del made["components"]["examples"]
    if not _has_keys(settings):
        del made["security"], made["components"]["securitySchemes"]
    if not settings.webhook_secret:
        submit = made["paths"]["/jobs"]["post"]
        del submit["callbacks"]
        del submit["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["webhook"]
    if not settings.result_cache_ttl:
        for operation in (made["paths"]["/classify"]["post"], made["paths"]["/jobs/{job_id}"]["get"]):
            del operation["responses"]["200"]["headers"]["Cache-Status"]
    for path, item in made["paths"].items():
        for method in item.keys() - {"parameters"}:
            _guard(path, item[method], settings, shared)
    return made


def _has_keys(settings: Settings) -> bool:
    return bool(settings.api_keys or settings.api_keys_file)


def _guard(path: str, operation: Json, settings: Settings, shared: Json) -> None:
    """Add the responses 401 and 429 and the rate limit's headers to an operation that is not public.

    A public operation never needs an API key. In `openapi.json`, each public operation has its own entry
    `security`.
    """
    if "security" in operation:
        if not _has_keys(settings):
            del operation["security"]
        return
    responses = operation["responses"]
    if _has_keys(settings):
        responses["401"] = shared["Unauthorized"]
    if settings.rate_limit and path != _UNLIMITED_PATH:
        responses["429"] = shared["RateLimited"]
        for status, response in responses.items():
            responses[status] = {**response, "headers": response["headers"] | _RATE_LIMIT_HEADERS}
    operation["responses"] = dict(sorted(responses.items()))


def _values(settings: Settings) -> Json:
    """Return the values of the placeholders in `openapi.json`."""
    images = max_images(settings)
    return {
        **vars(settings),
        "version": version("classification-server"),
        "request_timeout": f"{settings.request_timeout:g}",
        "region_form": REGION_FORMS[settings.region_order],
        "more_regions": settings.max_regions - 1,
        "max_image_pixels": settings.pixel_limits[0],
        "max_jpeg_pixels": settings.pixel_limits[1],
        "max_images": images,
        "max_form_bytes": max_body_bytes(settings, images) - MAX_OTHER_BYTES,
        "max_other_bytes": MAX_OTHER_BYTES,
        "max_other_parts": MAX_OTHER_PARTS,
        "max_ids": MAX_IDS,
        "max_wait_seconds": MAX_WAIT_SECONDS,
        "max_webhook_length": MAX_URL,
        "job_id": JOB_ID,
        "booleans": [*TRUE, *FALSE],
        "failure_codes": list(FAILURES),
        "page_files": list(page_routes.FILES),
        "docs_files": list(DOCS_FILES),
    }


def _fill(node: Any, values: Json) -> Any:
    """Copy a part of `openapi.json`, and replace its placeholders and its references to shared parts."""
    if isinstance(node, list):
        return [_fill(each, values) for each in node]
    if isinstance(node, str):
        whole = _PLACEHOLDER.fullmatch(node)
        return values[whole[1]] if whole else _PLACEHOLDER.sub(lambda name: str(values[name[1]]), node)
    if not isinstance(node, dict):
        return node
    if copied := _COPIED.fullmatch(node.get("$ref", "")):
        return _fill(_FILE["components"][copied[1]][copied[2]], values)
    return {name: _fill(each, values) for name, each in node.items()}
