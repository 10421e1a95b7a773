"""The recorded requests, in the order in which they are sent, for two configurations of the service."""

from dataclasses import dataclass, field, replace
from typing import Any

from tests.bad_input import png_header
from tests.recorded.images import DIGITS, HEIC, REGIONS, SCENE, SEVEN, saved, turned

LIMIT = 40
"""Requests per hour of each API key in the guarded configuration."""

KEYS = {name: f"{name}-0123456789abcdef" for name in ("phone", "tablet", "burst")}
UNKNOWN_ID = "0" * 31 + "1"


@dataclass(frozen=True)
class Call:
    """One request."""

    name: str
    method: str
    path: str
    send: dict[str, Any] = field(default_factory=dict)
    keep: str = ""
    """The name by which the paths of later requests refer to the jobs of this answer."""
    times: int = 1
    """Number of times that the request is sent; the last answer is recorded."""


@dataclass(frozen=True)
class Configuration:
    """Settings of a service, the requests before its worker starts, and the requests after that."""

    settings: dict[str, str]
    without_worker: tuple[Call, ...]
    with_worker: tuple[Call, ...]


def get(name: str, path: str, method: str = "GET", **headers: str) -> Call:
    return Call(name, method, path, {"headers": _names(headers)})


def form(name: str, path: str, parts: list[tuple[str, Any]], keep: str = "", **headers: str) -> Call:
    return Call(name, "POST", path, {"files": parts, "headers": _names(headers)}, keep)


def classify(name: str, image: bytes = DIGITS[3], *, keep: str = "", key: str = "", **fields: str) -> Call:
    return form(f"classify {name}", "/classify", _parts([image], fields), keep, **_key(key))


def submit(name: str, *images: bytes, keep: str = "", key: str = "", **fields: str) -> Call:
    """Submit images; the field `idempotency` becomes the header Idempotency-Key."""
    again = {"Idempotency_Key": fields.pop("idempotency")} if "idempotency" in fields else {}
    return form(f"submit {name}", "/jobs", _parts(list(images), fields), keep, **again, **_key(key))


def raw(name: str, body: bytes, content_type: str) -> Call:
    return Call(name, "POST", "/classify", {"data": body, "headers": {"Content-Type": content_type}})


def _parts(images: list[bytes], fields: dict[str, str]) -> list[tuple[str, Any]]:
    return [
        *(("blob", ("photo", image)) for image in images),
        *((name, (None, text)) for name, text in fields.items()),
    ]


def _key(owner: str) -> dict[str, str]:
    return {"X_API_Key": KEYS[owner]} if owner else {}


def _names(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


PREFLIGHT = {"Origin": "https://page.example", "Access_Control_Request_Method": "POST"}
OPEN_PART = b'--x\r\nContent-Disposition: form-data; name="blob"; filename="a.jpg"\r\n\r\n' + SEVEN[:100]
TEXT_PART = b'--x\r\nContent-Disposition: form-data; name="blob"\r\n\r\nphoto.jpg\r\n--x--\r\n'
PHOTO = ("blob", ("photo", DIGITS[3]))

OPEN = Configuration(
    {},
    without_worker=(
        get("live", "/health/live"),
        get("ready without a worker", "/health/ready"),
        get("classes without a worker", "/classes"),
        get("cfg without a worker", "/cfg"),
        classify("without a worker"),
        submit("one image", SEVEN, keep="one", top_n="2"),
        submit("three images", *DIGITS[:3], keep="three", idempotency="walk 7"),
        submit("three images with the same key again", *DIGITS[:3], idempotency="walk 7"),
        submit("another form with the same key", *DIGITS[:2], idempotency="walk 7"),
        submit("image to cancel", DIGITS[4], keep="canceled"),
        get("queued job", "/jobs/{one}"),
        get("queued job with a short wait", "/jobs/{one}?wait=0.05"),
        get("queued jobs", "/jobs?ids={three}"),
        get("cancel a queued job", "/jobs/{canceled}", "DELETE"),
        get("canceled job", "/jobs/{canceled}"),
        get("cancel a canceled job", "/jobs/{canceled}", "DELETE"),
    ),
    with_worker=(
        get("ready", "/health/ready"),
        get("classes", "/classes"),
        get("cfg", "/cfg"),
        get("cfg by POST", "/cfg", "POST"),
        get("status", "/status"),
        # File formats and sample types.
        classify("JPEG", SEVEN),
        classify("PNG", DIGITS[5]),
        classify("WebP", saved("WEBP", lossless=True)),
        classify("BMP", saved("BMP")),
        classify("GIF", saved("GIF", "P")),
        classify("TIFF", saved("TIFF")),
        classify("1-bit samples", saved("PNG", "1")),
        classify("grey samples", saved("PNG", "L")),
        classify("16-bit samples", saved("PNG", "I;16")),
        classify("palette", saved("PNG", "P")),
        classify("grey samples with alpha", saved("PNG", "LA")),
        classify("samples with alpha", saved("PNG", "RGBA")),
        classify("CMYK samples", saved("TIFF", "CMYK")),
        classify("32-bit samples", saved("TIFF", "F")),
        classify("EXIF-turned image", turned()),
        # Valid fields.
        classify("regions", SCENE, regions=REGIONS),
        classify("regions with top_n", SCENE, regions=REGIONS, top_n="2"),
        classify("consolidated regions", SCENE, regions=REGIONS, consolidate="1"),
        classify("consolidated unknown species", SCENE, regions="0,0,8", consolidate="true"),
        classify("consolidated whole image", SEVEN, consolidate="on"),
        classify("empty regions", SEVEN, regions="", consolidate="off"),
        classify("top_n of one", SEVEN, top_n="1"),
        classify("top_n above the number of classes", SEVEN, top_n="1000000000"),
        # Invalid fields.
        classify("regions of words", regions="here"),
        classify("regions of two numbers", regions="1,2"),
        classify("empty region between two", regions="0,0,10;;0,0,10"),
        classify("region outside", regions="100,100,50"),
        classify("region without size", regions="5,5,0"),
        classify("too many regions", regions="0,0,10;" * 101),
        classify("top_n of 0", top_n="0"),
        classify("top_n of words", top_n="abc"),
        classify("consolidate of maybe", consolidate="maybe"),
        classify("every field wrong", regions="x", top_n="0", consolidate="x"),
        form("classify top_n twice", "/classify", [PHOTO, ("top_n", (None, "1")), ("top_n", (None, "2"))]),
        classify("field of 300 kB", regions="1,1,1;" * 50_000),
        # Invalid images and forms.
        form("classify two images", "/classify", [PHOTO, PHOTO]),
        form("classify form without an image", "/classify", [("top_n", (None, "5"))]),
        Call("classify nothing", "POST", "/classify"),
        raw("classify text in place of a file", TEXT_PART, "multipart/form-data; boundary=x"),
        raw("classify JSON", b'{"blob": 1}', "application/json"),
        raw("classify bare image", DIGITS[3], "image/png"),
        raw("classify form without a boundary", OPEN_PART, "multipart/form-data"),
        raw("classify form cut short", OPEN_PART, "multipart/form-data; boundary=x"),
        classify("empty file", b""),
        classify("text file", b"this is not an image"),
        classify("HEIC", HEIC),
        classify("PDF", b"%PDF-1.7 ..."),
        classify("damaged header", SEVEN[:20]),
        classify("damaged pixels", SEVEN[: len(SEVEN) // 2]),
        classify("image of 20000×20000 pixels", png_header(20_000, 20_000)),
        # Jobs.
        form("classify with Prefer: wait=0", "/classify", [PHOTO], "preferred", Prefer="wait=0"),
        form("classify with Prefer: wait=50", "/classify", [PHOTO], Prefer="wait=50"),
        get("job of Prefer: wait=0", "/jobs/{preferred}?wait=30"),
        get("job of one image", "/jobs/{one}?wait=30"),
        get("three jobs", "/jobs?ids={three}&wait=30"),
        get("known and unknown jobs", f"/jobs?ids={{one}},{UNKNOWN_ID},{{canceled}}"),
        get("cancel a finished job", "/jobs/{one}", "DELETE"),
        submit("regions", SCENE, keep="regions", regions=REGIONS, consolidate="1"),
        get("job with regions", "/jobs/{regions}?wait=30"),
        submit("damaged pixels", SEVEN[: len(SEVEN) // 2], keep="damaged"),
        get("job of damaged pixels", "/jobs/{damaged}?wait=30"),
        submit("nothing"),
        submit("bad second image", DIGITS[0], b"this is not an image"),
        submit("region outside the smaller image", SCENE, DIGITS[0], regions="0,0,200"),
        submit("wrong top_n", DIGITS[0], top_n="x"),
        submit("too many images", *[DIGITS[1]] * 101),
        submit("webhook that is not configured", DIGITS[0], webhook="https://example.org/hook"),
        submit("empty idempotency key", DIGITS[0], idempotency=""),
        submit("long idempotency key", DIGITS[0], idempotency="k" * 256),
        get("unknown job", f"/jobs/{UNKNOWN_ID}"),
        get("malformed job", "/jobs/no%20such%21job"),
        get("cancel an unknown job", f"/jobs/{UNKNOWN_ID}", "DELETE"),
        get("cancel a malformed job", "/jobs/no%20such%21job", "DELETE"),
        get("no jobs", "/jobs"),
        get("malformed jobs", "/jobs?ids=a,b%20c"),
        get("too many jobs", "/jobs?ids=" + ",".join(f"a{number}" for number in range(101))),
        get("wait of words", "/jobs/{one}?wait=soon"),
        get("wait of an hour", "/jobs?ids={one}&wait=3600"),
        # Other methods, other paths, pages, the specification and the metrics.
        get("preflight", "/classify", "OPTIONS", **PREFLIGHT, Access_Control_Request_Headers="X-API-Key"),
        get("options", "/jobs", "OPTIONS"),
        get("head", "/classes", "HEAD"),
        get("wrong method", "/classify"),
        get("wrong method of jobs", "/jobs", "PUT"),
        get("unknown path", "/nowhere"),
        get("request with an id", "/classes", X_Request_Id="walk-7.of:monday"),
        get("page", "/"),
        get("unknown file of the page", "/page/nothing.js"),
        get("documentation", "/docs"),
        get("unknown file of the documentation", "/docs/nothing.js"),
        get("specification", "/openapi.json"),
        get("metrics", "/metrics"),
        get("metrics as OpenMetrics", "/metrics", Accept="application/openmetrics-text; version=1.0.0"),
    ),
)

GUARDED = Configuration(
    {
        "API_KEYS": ",".join(f"{name}:{key}" for name, key in KEYS.items()),
        "RATE_LIMIT": f"{LIMIT}/hour",
        "RESULT_CACHE_TTL": "600",
        "REGION_ORDER": "yx",
        "MAX_REGIONS": "3",
        "MAX_JOBS_PER_REQUEST": "3",
        "MAX_UPLOAD_BYTES": "100000",
        "MAX_IMAGE_PIXELS": "1000000",
        "BULK_QUEUE_SIZE": "4",
        "WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "WEBHOOK_ALLOW": "127.0.0.1",
        "CORS_ORIGINS": "https://page.example",
    },
    without_worker=(
        get("live", "/health/live"),
        submit("three images", *DIGITS[:3], key="phone", keep="three"),
        submit("past the full queue", *DIGITS[3:5], key="phone"),
        submit("too many images", *DIGITS[:4], key="phone"),
        get("queued job", "/jobs?ids={three}", X_API_Key=KEYS["phone"]),
        get("queued jobs of another key", "/jobs?ids={three}", X_API_Key=KEYS["tablet"]),
    ),
    with_worker=(
        get("ready", "/health/ready"),
        get("status without a key", "/status"),
        get("page without a key", "/"),
        get("documentation without a key", "/docs"),
        get("classes without a key", "/classes"),
        get("unknown path without a key", "/nowhere"),
        get("classes with a wrong key", "/classes", X_API_Key="wrong-0123456789abcdef"),
        get("classes with Basic authorization", "/classes", Authorization="Basic cGhvbmU6eA=="),
        get("classes with a wrong bearer", "/classes", Authorization="Bearer wrong-0123456789abcdef"),
        get("classes with a bearer", "/classes", Authorization=f"Bearer {KEYS['phone']}"),
        get("classes with X-API-Key", "/classes", X_API_Key=KEYS["phone"]),
        get("unknown path", "/nowhere", X_API_Key=KEYS["phone"]),
        get("cfg", "/cfg", X_API_Key=KEYS["phone"]),
        get("specification", "/openapi.json", X_API_Key=KEYS["phone"]),
        get("preflight of an allowed page", "/classify", "OPTIONS", **PREFLIGHT),
        get(
            "preflight of another page",
            "/classify",
            "OPTIONS",
            **PREFLIGHT | {"Origin": "https://other.example"},
        ),
        get("allowed page", "/classes", Origin="https://page.example", X_API_Key=KEYS["phone"]),
        classify("answer that is stored", SEVEN, key="phone"),
        classify("answer from the cache", SEVEN, key="phone"),
        submit("image from the cache", SEVEN, key="phone", keep="cached"),
        get("job from the cache", "/jobs/{cached}", X_API_Key=KEYS["phone"]),
        classify("equal image of another key", SEVEN, key="tablet"),
        classify("regions as y,x,side", SCENE, key="phone", regions="60,390,200", top_n="1"),
        classify("region outside as y,x,side", SCENE, key="phone", regions="390,60,200"),
        classify("four regions", SCENE, key="phone", regions="0,0,9;0,0,9;0,0,9;0,0,9"),
        classify("image above MAX_UPLOAD_BYTES", SEVEN + bytes(100_000), key="phone"),
        classify("form above MAX_UPLOAD_BYTES", SEVEN + bytes(400_000), key="phone"),
        classify("image above MAX_IMAGE_PIXELS", png_header(2000, 1000), key="phone"),
        submit("webhook", DIGITS[6], key="phone", keep="hooked", webhook="http://127.0.0.1:9/hook"),
        get("job with a webhook", "/jobs/{hooked}?wait=30", X_API_Key=KEYS["phone"]),
        submit("webhook to a private address", DIGITS[6], key="phone", webhook="http://10.0.0.1/hook"),
        submit("malformed webhook", DIGITS[6], key="phone", webhook="somewhere"),
        submit("idempotency key", DIGITS[8], key="phone", keep="keyed", idempotency="k"),
        submit("idempotency key of another owner", DIGITS[9], key="tablet", idempotency="k"),
        get("own job", "/jobs/{keyed}?wait=30", X_API_Key=KEYS["phone"]),
        get("job of another key", "/jobs/{keyed}", X_API_Key=KEYS["tablet"]),
        get("cancel a job of another key", "/jobs/{keyed}", "DELETE", X_API_Key=KEYS["tablet"]),
        replace(get("past the rate limit", "/classes", X_API_Key=KEYS["burst"]), times=LIMIT + 1),
        get("unknown path past the rate limit", "/nowhere", X_API_Key=KEYS["burst"]),
        get("ready past the rate limit", "/health/ready", X_API_Key=KEYS["burst"]),
    ),
)

CONFIGURATIONS = {"open": OPEN, "guarded": GUARDED}
