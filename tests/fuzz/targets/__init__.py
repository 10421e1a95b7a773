"""The harnesses: in each module `SEEDS`, inputs to begin with, `WORDS` to put into them, and `run`, which
raises only what is a fault.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """How much a parser is tried: `cases` in the tests, a `share` of a long run; inputs of `most_bytes`."""

    name: str
    parses: str
    cases: int
    share: float
    most_bytes: int = 4096


TARGETS = (
    Target("multipart", "a request's body and its Content-Type: gateway/upload_form.py", 20_000, 0.15),
    Target("fields", "the fields of a form: gateway/upload_fields.py", 25_000, 0.2),
    Target("urls", "a webhook's address: shared/webhook.py", 20_000, 0.1),
    Target("headers", "an image's header: shared/image_header.py", 10_000, 0.15),
    Target("pixels", "an image's pixels, with regions: worker/decode.py", 4_000, 0.05),
    Target("thresholds", "the thresholds file: worker/thresholds_file.py", 12_000, 0.1),
    Target("classes", "the classes file: worker/classes_file.py", 12_000, 0.05),
    Target("models", "a model file, bytes of HDF5 and ZIP: worker/model_allowlist.py", 3_000, 0.05, 16_384),
    Target("configs", "a model's configuration, JSON: worker/model_allowlist.py", 5_000, 0.05),
    Target("records", "what a worker and a gateway read from Redis: shared/queue/wire.py", 30_000, 0.1),
)
