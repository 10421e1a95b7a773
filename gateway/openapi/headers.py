"""The headers that are answered."""

from gateway.openapi.parts import Json, integer, text


def _header(description: str, schema: Json, *, required: bool = True) -> Json:
    return {"description": description, "required": required, "schema": schema}


_COUNT = integer(minimum=0)

_SHA256 = "^[0-9a-f]{64}$"
_TIMING = "[a-z]+;dur=[0-9.]+"

HEADERS: Json = {
    "X-Request-Id": _header(
        "The caller's own, or a new one; the server's log has it", text(pattern="^[0-9A-Za-z_.:-]{1,128}$")
    ),
    "X-Job-Id": _header("The job that answered, or will", text(pattern="^[0-9a-f]{32}$")),
    "X-Model": _header("The model's fingerprint: the SHA-256 of its file", text(pattern=_SHA256)),
    "Server-Timing": _header(
        "Milliseconds in the queue, to decode, in the model, in all",
        text(
            pattern=f"^{_TIMING}(, {_TIMING})*$",
            examples=["queue;dur=0.8, decode;dur=0.96, infer;dur=2.06, total;dur=10.36"],
        ),
    ),
    "Location": _header("Where to ask for the jobs", text(format="uri-reference")),
    "Retry-After": _header("Seconds after which to send it again", integer(minimum=1)),
    "Cache-Status": _header(
        "`hit`: the answer was kept; `stored`: it is now; `collapsed`: an equal one was in flight (RFC 9211)",
        text(
            enum=[
                f"classification-server; {each}"
                for each in ("hit", "fwd=miss; stored", "fwd=miss; collapsed")
            ]
        ),
        required=False,
    ),
    "Idempotency-Replayed": _header(
        "These jobs were made when the same was sent before", {"const": "true"}, required=False
    ),
    "Preference-Applied": _header("What was followed of `Prefer` (RFC 7240)", text()),
    "WWW-Authenticate": _header("How to send a key", {"const": "Bearer"}),
    "X-RateLimit-Limit": _header("Requests that the caller has", _COUNT, required=False),
    "X-RateLimit-Remaining": _header("Those that are left", _COUNT, required=False),
    "X-RateLimit-Reset": _header("When all are there again, in seconds since 1970", _COUNT, required=False),
}
