"""The harnesses of the parsers.

Each module has `SEEDS` (the first inputs), `WORDS` (byte strings to insert) and `run`, which raises an error
only for a fault.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A parser, the number of its `cases` in the tests, its `share` of a long run, and its maximum input."""

    name: str
    parses: str
    cases: int
    share: float
    max_bytes: int = 4096


TARGETS = (
    Target("multipart", "a request's body and its Content-Type: gateway/upload/form.py", 20_000, 0.15),
    Target("fields", "the fields of a form: gateway/upload/fields.py", 25_000, 0.2),
    Target("urls", "a webhook's address: shared/webhook.py", 20_000, 0.1),
    Target("headers", "an image's header: shared/image_header.py", 10_000, 0.1),
    Target("avif", "an AVIF image, its frames and pixels: shared/avif_frames.py", 4_000, 0.05),
    Target("pixels", "an image's pixels, with regions: worker/decode.py", 4_000, 0.05),
    Target("thresholds", "the thresholds file: worker/thresholds_file.py", 12_000, 0.1),
    Target("classes", "the classes file: worker/classes_file.py", 12_000, 0.05),
    Target("models", "a model file, bytes of HDF5 and ZIP: worker/model_allowlist.py", 3_000, 0.05, 16_384),
    Target("configs", "a model's configuration, JSON: worker/model_allowlist.py", 5_000, 0.05),
    Target("records", "records in Redis: shared/queue/wire.py", 30_000, 0.1),
)
