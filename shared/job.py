"""Defines the options that a caller chooses for one image, and the reasons why a job can fail.

RQ's record of a job contains the job's options and failure as JSON. The job's image is stored under a
separate Redis key.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

MAX_REGIONS = 10_000
"""Maximum number of regions of one image. The setting `MAX_REGIONS` cannot exceed this number."""


class Region(NamedTuple):
    """A square region of an image, in pixels of the image after its EXIF orientation is applied.

    `x` is the distance of the square's left edge from the image's left edge. `y` is the distance of the
    square's top edge from the image's top edge.
    """

    x: int
    y: int
    side: int


@dataclass(frozen=True)
class Options:
    """A caller's options for one image."""

    regions: tuple[Region, ...] | None = None
    top_n: int = 5
    consolidate: bool = False

    @property
    def inputs(self) -> int:
        """The number of inputs that the model gets for this image.

        The model gets one input for each region. If the caller chose no regions, the model gets one input.
        """
        return len(self.regions) if self.regions else 1

    def to_json(self) -> dict[str, Any]:
        """Return the options in their JSON form."""
        regions = [list(region) for region in self.regions] if self.regions else None
        return {"regions": regions, "top_n": self.top_n, "consolidate": self.consolidate}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Options":
        """Read the options from their JSON form.

        Raises:
            ValueError: the JSON data does not have the form that `to_json` returns.
        """
        try:
            regions = data["regions"] or ()
            if len(regions) > MAX_REGIONS or int(data["top_n"]) < 1:
                raise ValueError("the number of regions or top_n is out of range")
            return cls(
                regions=tuple(Region(*(int(n) for n in each)) for each in regions) or None,
                top_n=int(data["top_n"]),
                consolidate=bool(data["consolidate"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"invalid job record: malformed options: {error!r:.200}") from None


class JobFailure(Exception):
    """The reason why a job failed. The worker sends the failure to the gateway as JSON.

    `code` is a key of `FAILURES`. `detail` is an explanation for the caller.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail

    def to_json(self) -> dict[str, str]:
        """Return the failure in its JSON form."""
        return {"code": self.code, "detail": self.detail}


FAILURES = {
    "canceled": 409,
    "image-damaged": 422,
    "expired": 504,
    "image-lost": 500,
    "not-ours": 500,
    "attempts-exhausted": 500,
    "model-failed": 500,
    "image-too-large": 413,
}
"""The codes of job failures, with the HTTP status of each code."""
